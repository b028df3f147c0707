"""A failure that every row would meet ends the batch after a handful of calls."""

from __future__ import annotations

import asyncio

import pytest

from callgate.batch.guard import FailureGuard, fingerprint
from callgate.call.calling import Calling
from callgate.errors import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    ContentFilterError,
    ContextLengthError,
    InvalidRequestError,
    QuotaExhaustedError,
    QuotaTooSmallError,
    ResourceNotFoundError,
    RetryAfterTooLongError,
    ServerError,
)
from tests.batch.conftest import answered, failed


def count_until_stop(error: BaseException, most: int = 100) -> int | None:
    guard = FailureGuard(hopeless=4, others=20)
    for number in range(1, most + 1):
        guard.note(failed(error))
        if guard.verdict is not None:
            return number
    return None


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("wrong key", status_code=401),
        ResourceNotFoundError("no such model", status_code=404),
        QuotaExhaustedError("no credit", status_code=429),
        RetryAfterTooLongError("come back tomorrow"),
        QuotaTooSmallError("too large"),
        ConfigurationError("bad"),
        APIConnectionError("refused", surely_unsent=True),
    ],
)
def test_what_no_row_can_be_the_cause_of_stops_after_four(error: BaseException) -> None:
    assert count_until_stop(error) == 4


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("unknown parameter", status_code=400),
        ServerError("boom", status_code=500),
        APIConnectionError("broke"),
        ZeroDivisionError(),
    ],
)
def test_other_failures_stop_after_twenty(error: BaseException) -> None:
    assert count_until_stop(error) == 20


@pytest.mark.parametrize("error", [ContentFilterError("no"), ContextLengthError("too long")])
def test_what_is_about_the_row_alone_never_stops(error: BaseException) -> None:
    assert count_until_stop(error) is None


def test_rows_that_were_cancelled_never_stop_and_those_cancelled_by_nobody_do() -> None:
    guard = FailureGuard()
    for _ in range(100):
        calling = Calling({})
        calling.cancel()
        guard.note(calling)
    assert guard.verdict is None
    assert count_until_stop(asyncio.CancelledError()) == 20  # something inside the calls is broken


def test_an_answer_between_starts_the_count_anew() -> None:
    guard = FailureGuard(hopeless=2)
    wrong = failed(AuthenticationError("wrong key"))
    for calling in (wrong, answered(), wrong):
        guard.note(calling)
    assert guard.verdict is None
    guard.note(wrong)
    assert str(guard.verdict) == "2 rows failed in the same way since the last answer: wrong key"


def test_an_answer_from_the_cache_says_nothing_about_the_provider() -> None:
    guard = FailureGuard(hopeless=2)
    wrong = failed(AuthenticationError("wrong key"))
    for calling in (wrong, answered(cached=True), wrong):
        guard.note(calling)
    assert str(guard.verdict) == "2 rows failed in the same way and none was answered: wrong key"


def test_another_failure_between_starts_the_count_anew() -> None:
    guard = FailureGuard(hopeless=2)
    for _ in range(5):
        guard.note(failed(AuthenticationError("wrong key")))
        guard.note(failed(ResourceNotFoundError("no model")))
    assert guard.verdict is None


def test_too_many_failures_of_whatever_kind() -> None:
    guard = FailureGuard(most=3)
    kinds = (ServerError("a"), ContentFilterError("b"), ContextLengthError("c"), ServerError("d"))
    for error in kinds:
        assert guard.verdict is None
        guard.note(answered())
        guard.note(failed(error))
    assert guard.verdict is not None
    assert guard.verdict.count == 4
    assert str(guard.verdict) == "more than 3 rows failed, the last with: d"


def test_the_first_verdict_stands() -> None:
    guard = FailureGuard(hopeless=1)
    guard.note(failed(AuthenticationError("first")))
    guard.note(failed(AuthenticationError("second")))
    assert guard.verdict is not None
    assert str(guard.verdict.error) == "first"
    assert str(guard.verdict).startswith("1 row failed")


def test_numbers_and_ids_do_not_make_failures_different() -> None:
    one = ServerError("row 17 took 3.5 s", status_code=500, request_id="req_8f3")
    assert fingerprint(one) == fingerprint(
        ServerError("row 2 took 14 s", status_code=500, request_id="req_1")
    )
    ids = ("chatcmpl-A4WDHXbt", "chatcmpl-B")
    assert fingerprint(ValueError(f"in {ids[0]}")) == fingerprint(ValueError(f"in {ids[1]}"))
    assert fingerprint(one) != fingerprint(ServerError("row 17 took 3.5 s", status_code=503))
    assert fingerprint(one) != fingerprint(ServerError("row 17 took 3.5 s", status_code=500, code="x"))


def test_a_failure_without_words_is_named_by_its_class() -> None:
    guard = FailureGuard(others=1)
    calling = Calling({})
    calling.fail(ZeroDivisionError(), 0.0)
    guard.note(calling)
    assert str(guard.verdict).endswith(": ZeroDivisionError")
