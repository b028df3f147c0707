"""The answer to one request as data, for a transport to perform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["Chunk", "Ending", "Plan"]


class Ending(Enum):
    """How an answer ends once its last chunk has been sent.

    >>> Ending.STALL.value
    'stall'
    """

    COMPLETE = "complete"
    """The answer ends normally; the connection stays open."""
    RESET = "reset"
    """The connection is reset (TCP RST)."""
    TRUNCATED = "truncated"
    """The connection is closed before the end of the announced body."""
    STALL = "stall"
    """Nothing more is sent, and the connection stays open for `Plan.hold` seconds."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a body, and the seconds to wait after the chunk before it (or after the headers).

    >>> Chunk(b"data: {}", delay=0.02).delay
    0.02
    """

    data: bytes
    delay: float = 0.0


@dataclass(slots=True)
class Plan:
    """The answer to one request, in the order of its steps.

    Wait `delay` seconds; send `status` and `headers`; then for each chunk wait `chunk.delay` seconds and send
    its data; then end by `ending`. When it is over, or the client has disconnected, call
    `SimulatedProvider.finish(plan)`: it settles tokens and releases the concurrency slot.

    A `RESET` without chunks happens before the status line: no byte is sent.

    >>> plan = Plan(200, [("content-type", "text/plain")], [Chunk(b"Hello, "), Chunk(b"world")])
    >>> plan.body
    b'Hello, world'
    """

    status: int
    headers: list[tuple[str, str]]
    chunks: Sequence[Chunk] = ()
    delay: float = 0.0
    """Seconds from the request's arrival to the first byte of the answer."""
    ending: Ending = Ending.COMPLETE
    content_length: int | None = None
    """The announced size of the body in bytes; None for a streamed body, which marks its own end. With
    `TRUNCATED`, `RESET` and `STALL` it is larger than the chunks."""
    hold: float = 0.0
    """Seconds that a `STALL` stays silent before the connection is closed."""
    ticket: object | None = None
    """State for `SimulatedProvider.finish`; opaque to a transport."""

    @property
    def body(self) -> bytes:
        """The data of all chunks."""
        return b"".join(chunk.data for chunk in self.chunks)
