"""A process of the claim tests: it claims one request and holds it until its input ends or it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

from callgate.policies.cache.locks import ProcessLocks
from tests.policies.cache.write_process import key_for

if __name__ == "__main__":
    claims = ProcessLocks(Path(sys.argv[1]))
    taken = claims.take(key_for(int(sys.argv[2])))
    print("claimed" if taken else "not to be had", flush=True)
    sys.stdin.read()
    claims.close()
