"""`Stats`: what a batch has done so far, counted row by row."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from callgate.batch.guard import fingerprint
from callgate.batch.output.results import RowResult
from callgate.call.attempt import Attempt
from callgate.call.calling import Calling
from callgate.errors import InputError, RateLimitError

__all__ = ["EndpointStats", "ErrorGroup", "Stats"]

_MOST_GROUPS = 200
_KEPT_LATENCIES = 500


@dataclass(slots=True)
class ErrorGroup:
    """Rows that failed in the same way.

    Attributes:
        kind: The error's class name.
        count: How many rows.
        example: The message of one of them.
        line: The input line of that row.
        retryable: Whether the same rows may succeed when the batch is run again.
        error: The error of that row, if it is held.

    >>> ErrorGroup("ServerError", 2, "500: down", line=7, retryable=True).to_dict()["count"]
    2
    """

    kind: str
    count: int
    example: str
    line: int
    retryable: bool
    error: BaseException | None = None

    def to_dict(self) -> dict[str, Any]:
        """Its fields but `error`, ready for JSON."""
        facts = asdict(replace(self, error=None))
        del facts["error"]
        return facts


def _median_and_p95(latencies: deque[float]) -> tuple[float, float] | None:
    if not latencies:
        return None
    ordered = sorted(latencies)
    return ordered[len(ordered) // 2], ordered[len(ordered) * 95 // 100]


@dataclass(slots=True)
class EndpointStats:
    """Counts of one endpoint: a model at an address with a key.

    Attributes:
        calls: Attempts that were sent to it.
        answered: Rows that it answered.
        faults: Its failed attempts by HTTP status ("429"), or by the class of the error where there is none.
        cost: US dollars of the rows that it answered, where the price is known.
        latencies: Seconds from the request to the end of the answer, of its latest answers.

    >>> EndpointStats(calls=3, faults=Counter({"429": 2})).latency() is None
    True
    """

    calls: int = 0
    answered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    cost: float = 0.0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_LATENCIES))

    def latency(self) -> tuple[float, float] | None:
        """Median and 95th percentile of the latest latencies, in seconds; None without an answer."""
        return _median_and_p95(self.latencies)


@dataclass(slots=True)
class Stats:
    """Counts of one run.

    Attributes:
        done: Rows answered in this run.
        failed: Rows that ended in an error.
        refused: Of these, rows that the provider refused for their content or their length.
        invalid: Of those that failed, rows of the input that could not be used.
        cached: Rows answered from the cache.
        truncated: Rows whose answer was cut off at the largest number of tokens (finish reason "length").
        calls: Attempts that went on the wire, also for rows that were abandoned.
        retries: Of these, further attempts at an endpoint that the row had been sent to.
        moves: Further attempts at another endpoint.
        hedges: Second attempts beside slow ones.
        rate_limited: Attempts that the provider answered with 429.
        input_tokens, output_tokens: As the provider counted them; cached answers count nothing.
        cost: US dollars of the answers whose price is known.
        unpriced: Answers whose price is not known.
        unmetered: Answers without a token count.
        errors: The failures, grouped by their fingerprint.
        latencies: Seconds from the request to the end of the answer, of the latest rows.
        endpoints: The same for each endpoint, by its name.

    >>> Stats().ended
    0
    """

    done: int = 0
    failed: int = 0
    refused: int = 0
    invalid: int = 0
    cached: int = 0
    truncated: int = 0
    calls: int = 0
    retries: int = 0
    moves: int = 0
    hedges: int = 0
    rate_limited: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0
    unmetered: int = 0
    errors: dict[str, ErrorGroup] = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_LATENCIES))
    endpoints: dict[str, EndpointStats] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """Rows that have ended, answered or failed."""
        return self.done + self.failed

    @property
    def tokens(self) -> int:
        """Input and output tokens."""
        return self.input_tokens + self.output_tokens

    def note(self, result: RowResult) -> None:
        """Count one row that has ended."""
        calling, error = result.calling, result.error
        self.note_attempts(calling)
        usage = None if calling.cached else calling.usage
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
        cost = result.cost
        if cost is not None:
            self.cost += cost.input + cost.output
        if error is not None:
            self.failed += 1
            self.refused += result.refused
            self._group(error, str(error) or calling.error_message or "", result.row.line)
            return
        self.done += 1
        answer = calling.answer
        if answer is not None and answer.finish_reason == "length":
            self.truncated += 1
        if calling.cached:
            self.cached += 1
        else:
            self.unmetered += usage is None
            self.unpriced += cost is None
            if calling.attempts:
                self._note_answer(calling.attempts[-1], 0.0 if cost is None else cost.input + cost.output)

    def note_attempts(self, calling: Calling) -> None:
        """Count what was sent; for a row whose call was cancelled that is all there is to count."""
        attempts = calling.attempts
        self.calls += len(attempts)
        for attempt in attempts:
            error = attempt.error
            endpoint = self._endpoint(attempt)
            endpoint.calls += 1
            if isinstance(error, Exception):
                endpoint.faults[_fault(error)] += 1
                if isinstance(error, RateLimitError):
                    self.rate_limited += 1
        if len(attempts) > 1:
            tried = {attempts[0].endpoint}
            for attempt in attempts[1:]:
                if attempt.hedge:
                    self.hedges += 1
                elif attempt.endpoint in tried:
                    self.retries += 1
                else:
                    self.moves += 1
                tried.add(attempt.endpoint)

    def _note_answer(self, attempt: Attempt, cost: float) -> None:
        endpoint = self._endpoint(attempt)
        endpoint.answered += 1
        endpoint.cost += cost
        if attempt.sent_at is not None and attempt.ended_at is not None:
            latency = attempt.ended_at - attempt.sent_at
            self.latencies.append(latency)
            endpoint.latencies.append(latency)

    def _endpoint(self, attempt: Attempt) -> EndpointStats:
        endpoint = self.endpoints.get(attempt.endpoint)
        if endpoint is None:
            endpoint = self.endpoints[attempt.endpoint] = EndpointStats()
        return endpoint

    def note_invalid(self, error: InputError) -> None:
        """Count a row of the input that could not be used."""
        self.failed += 1
        self.invalid += 1
        self._group(error, str(error), error.line or 0)

    def _group(self, error: BaseException, message: str, line: int) -> None:
        """Add a failure to those that are the same."""
        mark = fingerprint(error)
        group = self.errors.get(mark)
        if group is None and len(self.errors) >= _MOST_GROUPS:
            # Messages that never repeat must not fill the memory: further ones are grouped by class.
            mark = type(error).__name__
            group = self.errors.get(mark)
        if group is None:
            retryable = bool(getattr(error, "retryable", False))
            kind = type(error).__name__
            self.errors[mark] = ErrorGroup(kind, 1, message, line, retryable, error)
        else:
            group.count += 1

    def latency(self) -> tuple[float, float] | None:
        """Median and 95th percentile of the latest latencies, in seconds; None without an answer."""
        return _median_and_p95(self.latencies)

    @property
    def faults(self) -> Counter[str]:
        """Failed attempts of all endpoints by HTTP status or error, most frequent first."""
        total: Counter[str] = Counter()
        for endpoint in self.endpoints.values():
            total.update(endpoint.faults)
        return Counter(dict(total.most_common()))

    def error_groups(self) -> list[ErrorGroup]:
        """The failures, most frequent first."""
        return sorted(self.errors.values(), key=lambda group: -group.count)


def _fault(error: Exception) -> str:
    """What an attempt failed with, in short: the HTTP status where there was one.

    >>> _fault(RateLimitError("slow down", status_code=429)), _fault(ValueError("x"))
    ('429', 'ValueError')
    """
    status = getattr(error, "status_code", None)
    return type(error).__name__ if status is None else str(status)
