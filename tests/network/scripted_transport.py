"""A transport in memory, so that a client's waiting runs on the virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from callgate.errors import APIClientError
from callgate.transport.http import HttpAnswer

__all__ = ["ScriptedTransport", "Sent", "reply"]


class Sent(NamedTuple):
    """A request as it would have gone over the wire, and when."""

    at: float
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    timeout: float | None


def reply(status: int = 200, content: Any = None, **headers: str) -> HttpAnswer:
    """An answer; what is not bytes goes as JSON. Underscores in names of headers stand for hyphens."""
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    if isinstance(content, bytes):
        return HttpAnswer(status, named, content)
    body = b"" if content is None else orjson.dumps(content)
    return HttpAnswer(status, {"content-type": "application/json", **named}, body)


class ScriptedTransport:
    """Gives these answers, or raises these errors, one after the other; the last one again and again."""

    def __init__(self, *answers: HttpAnswer | APIClientError) -> None:
        self._answers = list(answers) or [reply()]
        self.sent: list[Sent] = []
        self.closed = False

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> HttpAnswer:
        self.sent.append(Sent(asyncio.get_running_loop().time(), method, url, dict(headers), body, timeout))
        await asyncio.sleep(0)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, APIClientError):
            raise answer
        return HttpAnswer(answer.status, dict(answer.headers), answer.body)

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("the plain client does not stream")

    async def close(self) -> None:
        self.closed = True
