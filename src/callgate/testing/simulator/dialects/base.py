"""The simulator's dialect protocol: read a request, write an answer or an error."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import orjson

from callgate.testing.simulator.answers import Answer, Ask
from callgate.testing.simulator.options import HeaderFamily, RetryAfterForm

__all__ = [
    "Dialect",
    "Event",
    "Kind",
    "Refusal",
    "Reply",
    "Request",
    "invalid",
    "listed",
    "missing",
    "pieces",
    "require",
    "sse",
]

Kind = Literal[
    "invalid",
    "listed",
    "authentication",
    "permission",
    "not_found",
    "too_large",
    "context_length",
    "rate_limit",
    "server",
    "unavailable",
    "overloaded",
]


class Refusal(Exception):
    """Raised for a request that gets an error; each dialect writes it in its own format.

    Attributes: `status`, `kind`, `message`, `param` and `code` (in dialects that have them), `wait` (seconds
    until a retry may succeed, or None), `quota` (the one that was exceeded).
    """

    def __init__(
        self,
        status: int,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        wait: float | None = None,
        quota: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param
        self.code = code
        self.wait = wait
        self.quota = quota


@dataclass(slots=True)
class Request:
    """An HTTP request. `names` are the named parts of the path, such as the model; `body` is the parsed JSON,
    empty until access has been granted."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    names: Mapping[str, str]
    raw: bytes = b""
    method: str = "POST"
    query: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply to write: the request, an answer for each choice, an id and a time."""

    ask: Ask
    answers: Sequence[Answer]
    number: str
    """Hexadecimal, unique to this content and attempt; ids in the body are made from it."""
    created: int
    """Seconds since 1970."""

    @property
    def output_tokens(self) -> int:
        return sum(answer.output_tokens or 0 for answer in self.answers)

    @property
    def cached_tokens(self) -> int:
        return self.answers[0].cached_tokens or 0


@dataclass(frozen=True, slots=True)
class Event:
    """One piece of a streamed answer, and the number of tokens in it."""

    data: bytes
    tokens: int = 0


class Dialect(ABC):
    """One provider's wire format. Stateless, without I/O."""

    name: ClassVar[str]
    paths: ClassVar[re.Pattern[str]]
    """Paths of this dialect (full match); named groups become `Request.names`."""
    header_family: ClassVar[HeaderFamily] = "none"
    retry_after: ClassVar[tuple[RetryAfterForm, ...]] = ("seconds",)
    auth: ClassVar[Literal["key", "aws", "google"]] = "key"
    """Authentication: an API key, an AWS signature, or a token issued by `/token`."""
    counts_only: ClassVar[bool] = False
    """Only counts the tokens of a request: no quota, no model answer, no bill."""
    filler: ClassVar[tuple[bytes, bytes]] = (b":", b"\n\n")
    """Opening and closing bytes that make a stream's reader skip the bytes between them."""
    request_id_header: ClassVar[str] = "x-request-id"
    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    @abstractmethod
    def read(self, request: Request) -> Ask:
        """Read the request. Raises Refusal when the real provider would reject it."""

    @abstractmethod
    def whole(self, reply: Reply) -> bytes:
        """The body of a plain answer."""

    @abstractmethod
    def stream(self, reply: Reply) -> Iterator[Event]:
        """The pieces of a streamed answer."""

    @abstractmethod
    def error(self, refusal: Refusal, forms: Collection[str]) -> tuple[list[tuple[str, str]], bytes]:
        """Extra headers and the body of an error; `forms` are the ways to state the wait."""

    def status(self, refusal: Refusal) -> int:
        """The status of an error in this dialect."""
        return refusal.status

    @abstractmethod
    def stream_error(self) -> bytes:
        """The event of an error in the middle of a stream."""


def pieces(text: str) -> list[str]:
    """Split a text for streaming: words with the space before them, long words divided.

    >>> pieces("one two")
    ['one', ' two']
    """
    return re.findall(r"\s*\S{1,16}|\s+\Z", text)


def sse(payload: Any, event: str = "") -> bytes:
    """A server-sent event."""
    data = b"data: " + orjson.dumps(payload) + b"\n\n"
    return b"event: " + event.encode() + b"\n" + data if event else data


def require(value: Any, kinds: type | tuple[type, ...], name: str, wanted: str) -> None:
    """Raise a 400 unless `value` has one of these types (a bool is not a number)."""
    if isinstance(value, bool) and kinds is not bool:
        kinds = ()
    if not isinstance(value, kinds):
        raise invalid(f"Invalid type for '{name}': expected {wanted}.", name, "invalid_type")


def listed(value: Any, name: str) -> list[Any]:
    """`value` as a list; empty for None. Raises a 400 for any other type."""
    if value is None:
        return []
    require(value, list, name, "an array")
    return list(value)


def invalid(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    """A 400 for an invalid value."""
    return Refusal(400, "invalid", message, param=param, code=code)


def missing(name: str) -> Refusal:
    """A 400 for a missing parameter."""
    return invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
