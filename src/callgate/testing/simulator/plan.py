"""What the simulated provider will do with one request, as data: a driver only has to act it out."""

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
    """The answer ends as it should; the connection stays open."""
    RESET = "reset"
    """The connection is reset (TCP RST), so that a client sees a connection error."""
    TRUNCATED = "truncated"
    """The connection is closed in good order, but before the promised body has ended."""
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
    """One request's answer, in the order in which it is acted out.

    Wait `delay` seconds; send `status` and `headers`; then for each chunk wait `chunk.delay` seconds and send
    its data; then end as `ending` says. When it is over, or the client has gone, call
    `SimulatedProvider.finish(plan)`: that settles tokens and frees the request's place.

    A `RESET` without chunks happens before the status line: no byte is sent at all.

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
    """The promised size of the body in bytes; None for a streamed body, which says itself when it ends.
    With `TRUNCATED`, `RESET` and `STALL` it is more than what the chunks hold."""
    hold: float = 0.0
    """Seconds that a `STALL` stays silent before the connection is closed."""
    ticket: object | None = None
    """What `SimulatedProvider.finish` needs to settle the request; of no meaning to a driver."""

    @property
    def body(self) -> bytes:
        """Every chunk's data as one bytes object: what a client receives that waits to the end."""
        return b"".join(chunk.data for chunk in self.chunks)
