"""Rows and callings made by hand, for tests that need no provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from callgate.batch.input.rows import Row, content_key
from callgate.batch.output.results import RowResult
from callgate.call.calling import Calling
from callgate.response import Cost, Response, Usage


def make_row(index: int, text: str | None = None, **more: Any) -> Row:
    text = f"p{index}" if text is None else text
    content = {"messages": [{"role": "user", "content": text}]}
    return Row(index, index + 1, more.get("custom_id"), content_key(content), content, more.get("columns"))


def answered(
    text: str = "ok", *, cached: bool = False, attempts: int = 1, cost: Cost | None = None
) -> Calling:
    calling = Calling({}, now=10.0)
    if cost is not None:
        calling.pricer = lambda response, payload: cost
    calling.cached = cached
    response = Response(text=text, raw={"t": text}, usage=Usage(3, 4), id="chatcmpl-1")
    for number in range(attempts):
        attempt = calling.begin_attempt("model", 10.5)
        if number == attempts - 1:
            attempt.succeed(response, 11.0)
        else:
            attempt.fail(asyncio.CancelledError(), 11.0)
    calling.complete(response, 11.0)
    return calling


def failed(error: BaseException, attempts: int = 1) -> Calling:
    calling = Calling({}, now=10.0)
    for _ in range(attempts):
        calling.begin_attempt("model", 10.5).fail(error, 10.5)
    calling.fail(error, 11.0)
    return calling


@pytest.fixture
def result() -> Callable[..., RowResult]:
    """A result of an answered row, or of a failed one when `error` is given."""

    def make(index: int = 0, *, error: BaseException | None = None, **more: Any) -> RowResult:
        calling = answered() if error is None else failed(error)
        return RowResult(make_row(index, **more), calling)

    return make
