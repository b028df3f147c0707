"""The counts of a run."""

from __future__ import annotations

import pytest

from callgate.batch.output.results import RowResult
from callgate.batch.stats import Stats
from callgate.call.attempt import Attempt
from callgate.call.calling import Calling
from callgate.errors import (
    ContentFilterError,
    ContextLengthError,
    InputError,
    InvalidRequestError,
    QuotaExhaustedError,
    RateLimitError,
    RetryAfterTooLongError,
    ServerError,
)
from callgate.response import Cost, Response, Usage
from tests.batch.conftest import answered, failed, make_row

COST = Cost(0.25, 0.5)


def noted(*callings: Calling) -> Stats:
    stats = Stats()
    for index, calling in enumerate(callings):
        stats.note(RowResult(make_row(index), calling))
    return stats


def test_answers_attempts_tokens_and_costs_add_up() -> None:
    stats = noted(answered(cost=COST), answered(cost=COST, attempts=3), answered())
    assert (stats.done, stats.failed, stats.ended) == (3, 0, 3)
    assert (stats.calls, stats.retries) == (5, 2)
    assert (stats.input_tokens, stats.output_tokens, stats.tokens) == (9, 12, 21)
    assert (stats.cost, stats.unpriced) == (1.5, 1)


def test_cached_answers_cost_and_count_nothing() -> None:
    stats = noted(answered(cost=COST, cached=True, attempts=0))
    assert (stats.done, stats.cached, stats.tokens, stats.cost, stats.unpriced) == (1, 1, 0, 0.0, 0)


def test_an_answer_without_usage_is_counted_as_unmetered() -> None:
    calling = Calling({})
    calling.complete(Response(text="x"), 1.0)
    assert noted(calling).unmetered == 1


def test_429s_are_counted_by_attempt_also_when_the_row_was_answered() -> None:
    calling = answered(attempts=3)
    calling.attempts[0].fail(RateLimitError("slow down"), 1.0)
    calling.attempts[1].fail(ServerError("boom"), 1.0)
    assert noted(calling, failed(RateLimitError("slow down"), attempts=2)).rate_limited == 3


def attempted(*attempts: tuple[str, bool]) -> Calling:
    calling = Calling({}, now=10.0)
    for endpoint, hedge in attempts:
        attempt = Attempt(endpoint, 10.5, hedge=hedge)
        attempt.fail(ServerError("boom"), 10.6)
        calling.attempts.append(attempt)
    calling.complete(Response(text="x"), 11.0)
    return calling


def test_retries_are_further_attempts_at_the_same_endpoint() -> None:
    first, again, other, back = ("a", False), ("a", False), ("b", False), ("a", False)
    stats = noted(attempted(first, again, other, ("c", True), back), attempted(first, other))
    assert (stats.calls, stats.retries, stats.moves, stats.hedges) == (7, 2, 2, 1)


def test_a_429_is_counted_where_it_was_the_last_word_and_where_it_was_not_waited_for() -> None:
    errors = [RateLimitError("slow"), QuotaExhaustedError("no credit"), RetryAfterTooLongError("tomorrow")]
    assert noted(*map(failed, errors)).rate_limited == 3


def test_answers_that_were_cut_off_are_counted() -> None:
    cut_off = Calling({})
    cut_off.complete(Response(text="x", finish_reason="length"), 1.0)
    cached = Calling({})
    cached.cached = True
    cached.complete(Response(text="x", finish_reason="length"), 1.0)
    stats = noted(cut_off, cached, answered(), failed(ServerError("x")))
    assert (stats.truncated, stats.done) == (2, 3)


def test_rows_of_the_input_that_cannot_be_used_are_failures_without_calls() -> None:
    stats = Stats()
    for line in (3, 9):
        stats.note_invalid(InputError("is no JSON", source="in.jsonl", line=line))
    assert (stats.failed, stats.invalid, stats.ended, stats.calls) == (2, 2, 2, 0)
    [group] = stats.error_groups()
    assert (group.kind, group.count, group.line, group.retryable) == ("InputError", 2, 3, False)


def test_what_a_failed_row_has_spent_is_counted() -> None:
    calling = failed(ServerError("boom"))
    calling.pricer = lambda response, payload: COST
    calling.begin_attempt("model", 1.0).succeed(Response(usage=Usage(10, 20)), 2.0)
    stats = noted(calling)
    assert (stats.tokens, stats.cost, stats.failed) == (30, 0.75, 1)


def test_refused_rows_are_counted_apart_from_failed_ones() -> None:
    stats = noted(
        failed(ContentFilterError("no")), failed(ContextLengthError("long")), failed(ServerError("x"))
    )
    assert (stats.failed, stats.refused) == (3, 2)


def test_failures_are_grouped_by_what_is_the_same_in_them() -> None:
    stats = noted(
        failed(ServerError("boom 1", status_code=500)),
        failed(InvalidRequestError("bad", status_code=400)),
        failed(ServerError("boom 2", status_code=500)),
    )
    assert [group.to_dict() for group in stats.error_groups()] == [
        {"kind": "ServerError", "count": 2, "example": "500: boom 1", "line": 1, "retryable": True},
        {"kind": "InvalidRequestError", "count": 1, "example": "400: bad", "line": 2, "retryable": False},
    ]


def test_texts_that_never_repeat_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate.batch.stats._MOST_GROUPS", 3)
    stats = noted(*(failed(ServerError("boom" + "x" * i)) for i in range(10)))
    assert len(stats.errors) == 4
    assert sum(group.count for group in stats.error_groups()) == 10
