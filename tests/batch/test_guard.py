"""A failure that every row would meet ends the batch after a few calls."""

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


def note(guard: FailureGuard, calling: Calling) -> None:
    guard.note(calling, calling.error)


def count_until_stop(error: BaseException, most: int = 100) -> int | None:
    guard = FailureGuard(max_systematic=4, max_identical=20)
    for number in range(1, most + 1):
        note(guard, failed(error))
        if guard.stop_reason is not None:
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


def test_rows_cancelled_on_request_never_stop_and_others_do() -> None:
    guard = FailureGuard()
    for _ in range(100):
        calling = Calling({})
        calling.cancel()
        note(guard, calling)
    assert guard.stop_reason is None
    assert count_until_stop(asyncio.CancelledError()) == 20  # something inside the calls is broken


def test_an_answer_between_starts_the_count_anew() -> None:
    guard = FailureGuard(max_systematic=2)
    wrong = failed(AuthenticationError("wrong key"))
    for calling in (wrong, answered(), wrong):
        note(guard, calling)
    assert guard.stop_reason is None
    note(guard, wrong)
    assert str(guard.stop_reason) == "2 rows failed in the same way since the last answer: wrong key"


def test_an_answer_from_the_cache_says_nothing_about_the_provider() -> None:
    guard = FailureGuard(max_systematic=2)
    wrong = failed(AuthenticationError("wrong key"))
    for calling in (wrong, answered(cached=True), wrong):
        note(guard, calling)
    assert str(guard.stop_reason) == "2 rows failed in the same way and none was answered: wrong key"


def test_another_failure_between_starts_the_count_anew() -> None:
    guard = FailureGuard(max_systematic=2)
    for _ in range(5):
        note(guard, failed(AuthenticationError("wrong key")))
        note(guard, failed(ResourceNotFoundError("no model")))
    assert guard.stop_reason is None


def test_max_failures_counts_failures_of_every_kind() -> None:
    guard = FailureGuard(max_failures=3)
    kinds = (ServerError("a"), ContentFilterError("b"), ContextLengthError("c"), ServerError("d"))
    for error in kinds:
        assert guard.stop_reason is None
        note(guard, answered())
        note(guard, failed(error))
    assert guard.stop_reason is not None
    assert guard.stop_reason.count == 4
    assert str(guard.stop_reason) == "more than 3 rows failed, the last with: d"


def test_the_first_reason_to_stop_stands() -> None:
    guard = FailureGuard(max_systematic=1)
    note(guard, failed(AuthenticationError("first")))
    note(guard, failed(AuthenticationError("second")))
    assert guard.stop_reason is not None
    assert str(guard.stop_reason.error) == "first"
    assert str(guard.stop_reason).startswith("1 row failed")


def test_numbers_and_ids_do_not_make_failures_different() -> None:
    one = ServerError("row 17 took 3.5 s", status_code=500, request_id="req_8f3")
    assert fingerprint(one) == fingerprint(
        ServerError("row 2 took 14 s", status_code=500, request_id="req_1")
    )
    ids = ("chatcmpl-A4WDHXbt", "chatcmpl-B")
    assert fingerprint(ValueError(f"in {ids[0]}")) == fingerprint(ValueError(f"in {ids[1]}"))
    assert fingerprint(one) != fingerprint(ServerError("row 17 took 3.5 s", status_code=503))
    assert fingerprint(one) != fingerprint(ServerError("row 17 took 3.5 s", status_code=500, code="x"))


def test_a_failure_without_a_message_is_named_by_its_class() -> None:
    guard = FailureGuard(max_identical=1)
    calling = Calling({})
    calling.fail(ZeroDivisionError(), 0.0)
    note(guard, calling)
    assert str(guard.stop_reason).endswith(": ZeroDivisionError")
