"""Rows and callings made by hand, for tests that need no provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from callgate.batch.input.rows import Row, content_key
from callgate.batch.output.results import RowResult
from callgate.call.calling import Calling
from callgate.response import Response, Usage


def make_row(index: int, text: str | None = None, **more: Any) -> Row:
    text = f"p{index}" if text is None else text
    content = {"messages": [{"role": "user", "content": text}]}
    return Row(index, index + 1, more.get("custom_id"), content_key(content), content, more.get("columns"))


def answered(text: str = "ok", *, cached: bool = False, attempts: int = 1) -> Calling:
    calling = Calling({}, now=10.0)
    calling.attempts = attempts
    calling.called_at = 10.5
    calling.cached = cached
    calling.complete(Response(text=text, raw={"t": text}, usage=Usage(3, 4), id="chatcmpl-1"), 11.0)
    return calling


def failed(error: BaseException, attempts: int = 1) -> Calling:
    calling = Calling({}, now=10.0)
    calling.attempts = attempts
    for _ in range(attempts):
        calling.note_failure(error, 10.5)
    calling.fail(error, 11.0)
    return calling


@pytest.fixture
def result() -> Callable[..., RowResult]:
    """A result of an answered row, or of a failed one when `error` is given."""

    def make(index: int = 0, *, error: BaseException | None = None, **more: Any) -> RowResult:
        calling = answered() if error is None else failed(error)
        return RowResult(make_row(index, **more), calling)

    return make
