"""What a dialect is to the simulator: how a request is read, and how an answer or an error is said."""

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
    """A request that gets an error instead of an answer; each dialect puts it in its own words.

    Attributes: `status`, `kind`, `message`, `param` and `code` (where the dialect has such), `wait` (seconds
    after which a refused client may come back, None when there is nothing to say), `quota` (which was short).
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
    """One reply on its way out: what was asked, an answer for each choice, a number and a time."""

    ask: Ask
    answers: Sequence[Answer]
    number: str
    """Hexadecimal, unique to this content and attempt: the stuff that ids are made of."""
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
    """One piece of a streamed answer, and the tokens that had to be written for it."""

    data: bytes
    tokens: int = 0


class Dialect(ABC):
    """One provider's way to say things. Without state and without I/O."""

    name: ClassVar[str]
    paths: ClassVar[re.Pattern[str]]
    """The paths it answers on, matched as a whole; named groups become `Request.names`."""
    header_family: ClassVar[HeaderFamily] = "none"
    retry_after: ClassVar[tuple[RetryAfterForm, ...]] = ("seconds",)
    auth: ClassVar[Literal["key", "aws", "google"]] = "key"
    """How a request shows who it is from: a key as such, an AWS signature, or a token issued by `/token`."""
    counts_only: ClassVar[bool] = False
    """It only counts the tokens of a request: no quota, no answer of a model, no bill."""
    filler: ClassVar[tuple[bytes, bytes]] = (b":", b"\n\n")
    """What makes a stream's reader pass over the bytes between."""
    request_id_header: ClassVar[str] = "x-request-id"
    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    @abstractmethod
    def read(self, request: Request) -> Ask:
        """What is asked. Raises Refusal for a request that the real provider would not take."""

    @abstractmethod
    def whole(self, reply: Reply) -> bytes:
        """The body of a plain answer."""

    @abstractmethod
    def stream(self, reply: Reply) -> Iterator[Event]:
        """The pieces of a streamed answer."""

    @abstractmethod
    def error(self, refusal: Refusal, forms: Collection[str]) -> tuple[list[tuple[str, str]], bytes]:
        """Extra headers and the body of an error; `forms` says how it may tell when to come back."""

    def status(self, refusal: Refusal) -> int:
        """The status of an error, where this provider uses another than the rest."""
        return refusal.status

    @abstractmethod
    def stream_error(self) -> bytes:
        """An error that strikes in the middle of a stream."""


def pieces(text: str) -> list[str]:
    """The text in the pieces in which it is streamed: words with the space before them, long ones divided.

    >>> pieces("one two")
    ['one', ' two']
    """
    return re.findall(r"\s*\S{1,16}|\s+\Z", text)


def sse(payload: Any, event: str = "") -> bytes:
    """A server-sent event."""
    data = b"data: " + orjson.dumps(payload) + b"\n\n"
    return b"event: " + event.encode() + b"\n" + data if event else data


def require(value: Any, kinds: type | tuple[type, ...], name: str, wanted: str) -> None:
    """Raise a 400 unless `value` is of one of these types (a bool is no number)."""
    if isinstance(value, bool) and kinds is not bool:
        kinds = ()
    if not isinstance(value, kinds):
        raise invalid(f"Invalid type for '{name}': expected {wanted}.", name, "invalid_type")


def listed(value: Any, name: str) -> list[Any]:
    """The list that `value` is; an empty one for None. Raises a 400 for anything else."""
    if value is None:
        return []
    require(value, list, name, "an array")
    return list(value)


def invalid(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    """A 400 for a request that says something impossible."""
    return Refusal(400, "invalid", message, param=param, code=code)


def missing(name: str) -> Refusal:
    """A 400 for a request that lacks a parameter."""
    return invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
