"""Where a call stands, what its attempts came to, how it ended: values without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from callgate.response import Response

__all__ = ["Execution", "Failure", "RequestStatus"]


class RequestStatus(str, Enum):  # noqa: UP042  (the documents print and compare it as a str Enum)
    """Where a call stands. COMPLETED and FAILED are ends; each call reaches exactly one of them, once."""

    PENDING = "pending"
    """Made, not yet asked for."""
    QUEUED = "queued"
    """In line; others stand before it."""
    PROCESSING = "processing"
    """Next in line: it waits for its own quota."""
    CALLING = "calling"
    """On the wire."""
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that failed: when (loop's clock, seconds) and with what."""

    at: float
    error: BaseException


@dataclass(frozen=True, slots=True)
class Execution:
    """The outcome as the services document names it: status, duration in seconds, response, error."""

    status: RequestStatus
    duration: float | None
    response: Response | None
    error: BaseException | None
