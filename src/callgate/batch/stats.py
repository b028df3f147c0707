"""What a batch has done so far, counted by the row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from callgate.batch.guard import fingerprint
from callgate.batch.output.results import RowResult
from callgate.call.calling import Calling
from callgate.errors import RateLimitError

__all__ = ["ErrorGroup", "Tally"]

_MOST_GROUPS = 200


@dataclass(slots=True)
class ErrorGroup:
    """Failures that are the same.

    Attributes:
        kind: The error's class name.
        count: How many rows ended in it.
        example: One of the messages.
        line: The input line of that row.
        retryable: Whether the same rows may succeed when the batch is run again.

    >>> ErrorGroup("ServerError", 2, "500: down", line=7, retryable=True).to_dict()["count"]
    2
    """

    kind: str
    count: int
    example: str
    line: int
    retryable: bool

    def to_dict(self) -> dict[str, Any]:
        """Its fields, ready for JSON."""
        return {
            "kind": self.kind,
            "count": self.count,
            "example": self.example,
            "line": self.line,
            "retryable": self.retryable,
        }


@dataclass(slots=True)
class Tally:
    """Counts of one run; plain numbers, so that one more row costs next to nothing.

    Attributes:
        done: Rows answered in this run.
        failed: Rows that ended in an error.
        refused: Of these, rows that the provider refused for themselves: their content, or their length.
        cached: Of those answered, how many from the cache.
        calls: Attempts that went on the wire, also for rows that were abandoned.
        retries: Of these, how many were repetitions.
        hedges: Second attempts beside slow ones.
        rate_limited: Attempts that the provider answered with 429.
        input_tokens, output_tokens: As the provider counted them; cached answers count nothing.
        cost: US dollars of what has a known price.
        unpriced: Answers whose price is not known.
        unmetered: Answers whose tokens the provider did not tell.
        errors: The failures, grouped by what is the same in them.

    >>> Tally().ended
    0
    """

    done: int = 0
    failed: int = 0
    refused: int = 0
    cached: int = 0
    calls: int = 0
    retries: int = 0
    hedges: int = 0
    rate_limited: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0
    unmetered: int = 0
    errors: dict[str, ErrorGroup] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """Rows that have ended, well or not."""
        return self.done + self.failed

    @property
    def tokens(self) -> int:
        """Input and output tokens."""
        return self.input_tokens + self.output_tokens

    def note(self, result: RowResult) -> None:
        """Count one row that has ended."""
        calling = result.calling
        self._note_attempts(calling)
        usage = None if calling.cached else calling.usage
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
        cost = result.cost
        if cost is not None:
            self.cost += cost.input + cost.output
        if not result.ok:
            self._note_failure(result)
            return
        self.done += 1
        if calling.cached:
            self.cached += 1
        else:
            self.unmetered += usage is None
            self.unpriced += cost is None

    def note_abandoned(self, calling: Calling) -> None:
        """Count what was sent for a row whose call was cancelled: nothing came of it, and it was served."""
        self._note_attempts(calling)

    def _note_attempts(self, calling: Calling) -> None:
        attempts = calling.attempts
        self.calls += attempts
        if attempts > 1:
            # A second attempt beside a slow one repeats nothing.
            self.retries += attempts - 1 - calling.hedges
            self.hedges += calling.hedges
        if calling.failures is not None:
            for failure in calling.failures:
                if isinstance(failure.error, RateLimitError):
                    self.rate_limited += 1

    def _note_failure(self, result: RowResult) -> None:
        self.failed += 1
        self.refused += result.refused
        error = result.error
        assert error is not None
        mark = fingerprint(error)
        group = self.errors.get(mark)
        if group is None and len(self.errors) >= _MOST_GROUPS:
            # Texts that never repeat must not fill the memory: the rest goes by its class alone.
            mark = type(error).__name__
            group = self.errors.get(mark)
        if group is None:
            message = str(error) or result.calling.error_message or ""
            retryable = bool(getattr(error, "retryable", False))
            self.errors[mark] = ErrorGroup(type(error).__name__, 1, message, result.row.line, retryable)
        else:
            group.count += 1

    def error_groups(self) -> list[ErrorGroup]:
        """The failures, most frequent first."""
        return sorted(self.errors.values(), key=lambda group: -group.count)
