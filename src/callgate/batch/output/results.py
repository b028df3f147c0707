"""What came of a row, and the line that says so: the OpenAI Batch output format with our facts added."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, Literal
from zlib import crc32

import orjson

from callgate.batch.guard import is_refusal
from callgate.batch.input.rows import Row
from callgate.call.calling import Calling
from callgate.errors import APIClientError, ContentFilterError, InputError
from callgate.exact_json import dumps
from callgate.response import Cost, Response

__all__ = ["FIELDS", "RowResult", "encode_bad_row", "encode_result", "free_name", "own_columns", "seal"]

FIELDS = (
    "id", "custom_id", "response", "error", "text", "parsed", "finish_reason", "model", "usage", "cost_usd",
    "latency_s", "attempts", "cached", "charged_usd", "finished_at", "line", "fingerprint", "check", "key",
)  # fmt: skip
"""The fields of an output line. A row's own column of such a name travels as `input_NAME`."""

_TAKEN = frozenset(FIELDS)
_clock_offset = time.time() - time.monotonic()


class RowResult:
    """One row and the call that was made for it.

    Attributes:
        row: The row.
        calling: Its call, which has ended.

    Example::

        async for result in engine.run(rows):
            print(result.row.custom_id, result.text if result.ok else result.error)
    """

    __slots__ = ("_cost", "calling", "charged", "error", "fingerprint", "row")

    def __init__(self, row: Row, calling: Calling) -> None:
        self.row = row
        self.calling = calling
        self.error: BaseException | None = calling.error
        """What ended the row, or None when there is an answer. One that the provider withheld is none: its
        content filter left nothing of it."""
        answer = calling.answer
        if answer is not None and answer.finish_reason == "content_filter" and _is_empty(answer):
            self.error = _withheld(answer)
        self.charged: float | None = None
        """US dollars that were charged to a budget, attempts that may have been billed included."""
        self.fingerprint: bytes | None = None
        """What was asked, in short (see `input.fingerprint`), or None."""
        self._cost: Cost | Literal[False] | None = False  # not asked for yet

    @property
    def cost(self) -> Cost | None:
        """What the answer cost in US dollars; None when it is not known. Looked up once."""
        if self._cost is False:
            self._cost = self.calling.cost
        return self._cost

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.error is None

    @property
    def text(self) -> str | None:
        """The answer's text, or None when the row failed."""
        answer = self.answer
        return None if answer is None else answer.text

    @property
    def answer(self) -> Response | None:
        """The answer, or None when the row failed."""
        return self.calling.answer if self.error is None else None

    @property
    def refused(self) -> bool:
        """Whether the provider refused the row for its content or its length: it would do so again."""
        return is_refusal(self.error)

    @property
    def given_up(self) -> bool:
        """Whether its call was cancelled because somebody asked for it: nothing came of the row."""
        return self.calling.cancelled and self.calling.cancel_requested

    def __repr__(self) -> str:
        return f"<RowResult {self.row!r} {'ok' if self.error is None else type(self.error).__name__}>"


def encode_result(result: RowResult) -> bytes:
    """The output line of a row, with its line end.

    `finish_reason` is one of "stop", "length", "tool_call", "content_filter" and "error", whoever answered.
    With a schema there is `parsed`, the validated object. `model` is what answered, in the provider's words.
    `usage` and `cost_usd` are of all answers that were paid for the row, of a failed one too, and null when
    they are not known; `latency_s` is the last attempt's time on the wire in seconds; `attempts` counts how
    often it went there; `finished_at` is in seconds since 1970. `charged_usd` is there when a budget was set:
    what the row took of it. `fingerprint` states what was asked. `check` is the CRC-32 of the line up to it:
    one that was damaged is found by it.

    >>> from callgate.call.calling import Calling
    >>> from callgate.response import Response
    >>> calling = Calling({})
    >>> calling.complete(Response(text="4", raw={"answer": 4}), 1.0)
    >>> line = encode_result(RowResult(Row(0, 1, "sum", 10, {}), calling))
    >>> orjson.loads(line)["text"], orjson.loads(line)["key"]
    ('4', '000000000000000a')
    """
    row, calling = result.row, result.calling
    answer, ended = result.answer, calling.ended_at or 0.0
    cost, usage = result.cost, calling.usage
    line: dict[str, Any] = {"id": calling.request_id, "custom_id": row.custom_id}
    if answer is not None:
        line["response"] = {"status_code": answer.status_code, "request_id": answer.id, "body": answer.raw}
        line["error"] = None
        line["text"] = answer.text
        line["finish_reason"] = answer.finish_reason
        line["model"] = answer.model
        if answer.parsed is not None:
            line["parsed"] = answer.parsed
    else:
        line["response"] = _error_response(result.error)
        # Before the error, not at the end: a failed row must not look finished to a quick reader.
        line["key"] = f"{row.key:016x}"
        line["error"] = _error(result)
    line["usage"] = None if usage is None else usage.to_dict()
    line["cost_usd"] = None if cost is None else cost.input + cost.output
    # Without a start on the wire it was answered from the cache, or refused before it went out.
    line["latency_s"] = round(ended - (calling.sent_at or calling.made_at), 6)
    line["attempts"] = len(calling.attempts)
    line["cached"] = calling.cached
    line["finished_at"] = round(ended + _clock_offset, 3)
    line["line"] = row.line
    if result.charged is not None:
        line["charged_usd"] = result.charged
    if row.columns is not None:
        line.update(own_columns(row.columns))
    encoded = _encode(line)
    return encoded if answer is None else seal(encoded, row.key, result.fingerprint)


def seal(line: bytes, key: int, fingerprint: bytes | None = None) -> bytes:
    """End the line of an answered row in its fingerprint, a checksum of all before, and the row's key.

    >>> seal(b'{"id":"call-1"}\\n', 10)
    b'{"id":"call-1","check":"ceb08bed","key":"000000000000000a"}\\n'
    """
    content = line[:-2]
    if fingerprint is not None:
        content = b'%b,"fingerprint":%b' % (content, fingerprint)
    return b'%b,"check":"%08x","key":"%016x"}\n' % (content, crc32(content), key)


def encode_bad_row(error: InputError, key: int) -> bytes:
    """The line, for the errors file, of a row of the input that could not be used; with its line end.

    >>> line = encode_bad_row(InputError("is no JSON", source="in.jsonl", line=3), 10)
    >>> orjson.loads(line)["error"]["message"], orjson.loads(line)["line"]
    ('in.jsonl:3: is no JSON', 3)
    """
    what = {
        "code": "bad_row",
        "message": str(error),
        "type": type(error).__name__,
        "retryable": False,
        "refused": False,
    }
    line: dict[str, Any] = {"id": None, "custom_id": None, "response": None, "key": f"{key:016x}"}
    line |= {"error": what, "usage": None, "cost_usd": None, "latency_s": 0.0, "attempts": 0, "cached": False}
    return _encode({**line, "finished_at": round(time.time(), 3), "line": error.line})


def _encode(line: dict[str, Any]) -> bytes:
    try:
        return dumps(line, str, orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a name that is no text: the answer is paid for
        plain = {str(name): _writable(value) for name, value in line.items()}
        return dumps(plain, str, orjson.OPT_APPEND_NEWLINE)


def _writable(value: Any) -> Any:
    """The value, or in words what JSON cannot say."""
    try:
        dumps(value, str)
    except TypeError:
        return str(value)
    return value


def own_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """A row's own columns by the names that they have in an output.

    >>> own_columns({"text": "Hund", "page": 3})
    {'input_text': 'Hund', 'page': 3}
    """
    return {
        name if name not in _TAKEN else free_name(name, columns): value for name, value in columns.items()
    }


def free_name(name: str, columns: Collection[str], prefix: str = "input_") -> str:
    """A name with a prefix that no column has: of a row's own column that has the name of a field of ours.

    >>> free_name("text", {"text": "Hund", "input_text": "?"})
    'input_input_text'
    """
    free = prefix + name
    while free in columns:
        free = prefix + free
    return free


def _error(result: RowResult) -> dict[str, Any]:
    error, kind = result.error, type(result.error).__name__
    return {
        "code": getattr(error, "code", None) or kind,
        "message": str(error) or result.calling.error_message or kind,
        "type": kind,
        "retryable": isinstance(error, APIClientError) and error.retryable,
        "refused": result.refused,
    }


def _is_empty(answer: Response) -> bool:
    return not (answer.text.strip() or answer.tool_calls)


def _withheld(answer: Response) -> ContentFilterError:
    return ContentFilterError(
        "the provider withheld its answer (content filter)",
        status_code=answer.status_code,
        response_content=answer.raw,
        headers=answer.headers,
        code="content_filter",
        request_id=answer.id,
    )


def _error_response(error: BaseException | None) -> dict[str, Any] | None:
    """The provider's answer to a failed call, if there was one."""
    if not isinstance(error, APIClientError) or error.status_code is None:
        return None
    return {"status_code": error.status_code, "request_id": error.request_id, "body": error.response_content}
