"""What a traceback with local variables shows of an error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pydantic

import callgate

__all__ = ["variables_in_sight"]

_ROOMS = tuple(str(Path(package.__file__).parent) for package in (callgate, asyncio, pydantic))


def variables_in_sight(error: BaseException | None) -> Iterator[tuple[str, str]]:
    """The local variables in the frames of an error and of those behind it: where, and their `repr`.

    Only frames of callgate, asyncio and pydantic: what the caller's own hold is the caller's affair.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__]
        trace = each.__traceback__
        while trace is not None:
            file = trace.tb_frame.f_code.co_filename
            if file.startswith(_ROOMS):
                for name, value in trace.tb_frame.f_locals.items():
                    yield f"{file}:{trace.tb_lineno} {name}", repr(value)
            trace = trace.tb_next
