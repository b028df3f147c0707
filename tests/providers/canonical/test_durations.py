"""Lengths of time in every form that a header, a body or a message has."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from callgate.providers.canonical.durations import LONGEST, read_amount, seconds_of, wait_in_words

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
YEAR = 366 * 86_400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("6m0s", 360.0),
        ("17.399999999s", 17.399999999),
        ("1h2m3s", 3723.0),
        ("500µs", 0.0005),
        ("1d", 86_400.0),
        ("42", 42.0),
        ("0.5", 0.5),
        ("1767225610", 10.0),
        ("1767225610000", 10.0),
        ("2026-01-01T00:00:05.5Z", 5.5),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("2020-01-01T00:00:00Z", 0.0),
        ("9999-12-31T23:59:59Z", YEAR),
        ("1e30", YEAR),
        ("6m0", None),
        ("soon", None),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("2026-01-01T00:00:05", 5.0),
        ("2026-01-01 00:00:05", 5.0),
        ("Thursday, 01-Jan-26 00:01:00 GMT", 60.0),
        ("Thu Jan  1 00:01:00 2026", 60.0),
        ("PT30S", 30.0),
        ("PT1M30.5S", 90.5),
        ("P1DT1H", 90_000.0),
        ("P", None),
        ("PT", None),
        ("00:01:30", 90.0),
        ("5;", 5.0),
        ("5;comment=busy", 5.0),
        ("999999999", YEAR),
        ("99999999999999999999d", None),
        ("5s", 5.0),
        ("0s", 0.0),
        ("30 seconds", 30.0),
        ("2 Minutes", 120.0),
        ("1 hour, 30 minutes", 5400.0),
        ("1 hour and 30 minutes", 5400.0),
        ("5s, 5s", 5.0),
        ("5, 7", 7.0),
        ("5, soon", 5.0),
        ('"5"', 5.0),
        ("Thu, 01 Jan 2026 00:01:00 GMT, Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
    ],
)
def test_reset_times_in_every_form(text: str, seconds: float | None) -> None:
    assert seconds_of(text, DATE) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("text", ["2026-01-01T00:00:05Z", "Thu, 01 Jan 2026 00:01:00 GMT", "1767225610"])
def test_a_moment_means_nothing_without_the_answers_date(text: str) -> None:
    assert seconds_of(text) is None


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("100", 100.0),
        ("1,000", 1000.0),
        ("100, 60", 60.0),
        ("100, 100;w=60", 100.0),
        ("100;w=60", 100.0),
        ('"100"', 100.0),
        ("-1", None),
        ("100, many", None),
        ("", None),
        (None, None),
    ],
)
def test_amounts_in_every_form(text: str | None, amount: float | None) -> None:
    assert read_amount(text) == amount


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("No capacity left for this model, Try again in 60 seconds.", 60.0),
        ("Slow down. Please Retry after 30 seconds.", 30.0),
        ("Slow down. Please try again in 2 minutes.", 120.0),
        ("Slow down. Please try again in 1 hour.", 3600.0),
        ("PLEASE TRY AGAIN IN 20S", 20.0),
        ("Limit 30000, Used 29000, Requested 2000. Please try again in 20ms. Visit https://x.io", 0.02),
        ("Please try again in 6m0s.", 360.0),
        ("Please retry in 58.357s.", 58.357),
        ("Please wait 20 seconds before retrying.", 20.0),
        ("Your quota will reset after 1m30s.", 90.0),
        ("The limit resets in 5 Minutes", 300.0),
        ("Capacity is available in 30 secs", 30.0),
        ("Try again in an hour", 3600.0),
        ("Try again in a minute and 30 seconds", 90.0),
        ("Try again in 1.5 hours", 5400.0),
        ("Please retry after 6", 6.0),
        ("rate limited (retry_after: 30)", 30.0),
        ("Try again after 2026-01-01T00:00:30Z", 30.0),
        ("Try again in one minute", 60.0),
        ("Quota will be replenished in 02:15:30.", 8130.0),
        ("Try again at 2026-01-01 00:00:30 UTC", 30.0),
        ("The next request is allowed in 12 seconds", 12.0),
        ("Busy. Cooldown 12s", 12.0),
        ("Retry limit of 3 attempts exceeded", None),
        ("Please wait for 3 more requests", None),
        ("Limit 60 per minute. Try later.", None),
        ("Please wait a moment", None),
        ("Resets at 15:00", None),
        ("", None),
    ],
)
def test_waits_in_words_in_every_unit_and_case(message: str, seconds: float | None) -> None:
    assert wait_in_words(message, DATE) == seconds


@given(st.text(max_size=200) | st.from_regex(r"(retry |try again |wait )(in|after|for) .{0,40}"))
def test_any_message_means_a_bounded_wait_or_none(message: str) -> None:
    wait = wait_in_words(message, DATE)
    assert wait is None or 0 <= wait <= LONGEST


def test_a_long_message_is_read_in_bounded_time() -> None:
    assert wait_in_words("retry in " * 100_000 + "1 s " * 100_000) is None
