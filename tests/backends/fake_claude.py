"""Stands in for the command `claude`: `python -S fake_claude.py MODE ...arguments of the command`.

It reads its stdin, writes lines as the real one does, and behaves as MODE says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

mode, argv = sys.argv[1], sys.argv[2:]


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


if mode == "crash":
    sys.exit("error: unknown option '--nonsense'")
say(type="system", subtype="init", session_id="s-1", model="claude-x")
if mode == "hang":
    nap = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(nap)
    say(type="stream_event", event={"delta": {"type": "text_delta", "text": f"{os.getpid()} {child.pid}"}})
    time.sleep(600)
if mode == "cut":
    sys.exit(0)
told = {"argv": argv, "stdin": sys.stdin.read(), "env": dict(os.environ), "cwd": os.getcwd()}
if "--include-partial-messages" in argv:
    for piece in ("Hel", "lo"):
        say(type="stream_event", event={"delta": {"type": "text_delta", "text": piece}})
say(
    type="result",
    subtype="success",
    is_error=mode == "fail",
    api_error_status=429 if mode == "fail" else None,
    result=json.dumps(told) if mode == "tell" else "Hello",
    stop_reason="end_turn",
    session_id="s-1",
    total_cost_usd=0.01,
    usage={"input_tokens": 3, "output_tokens": 2},
)
sys.exit(1 if mode == "fail" else 0)
