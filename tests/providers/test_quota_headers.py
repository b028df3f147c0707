"""What headers tell of quotas, and of when to come back, in every provider's form."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from callgate.errors import ConfigurationError
from callgate.policies.limit.quota import QuotaNews
from callgate.policies.limit.rates import Rates
from callgate.providers.hosts import HOSTS, find_host
from callgate.providers.quota_headers import (
    FAMILIES,
    read_quota,
    read_request_id,
    read_reset,
    read_retry_after,
    read_should_retry,
)

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
AT_DATE = 1767225600.0
YEAR = 366 * 86_400.0


def ratelimit(**values: str) -> dict[str, str]:
    return {f"x-ratelimit-{name.replace('_', '-')}": value for name, value in values.items()}


def test_openai() -> None:
    headers = ratelimit(
        limit_requests="5000",
        remaining_requests="4999",
        reset_requests="12ms",
        limit_tokens="160000",
        remaining_tokens="159976",
        reset_tokens="6m0s",
    )
    assert read_quota("openai", headers) == [
        QuotaNews("requests", 5000, 4999, 0.012, 60.0),
        QuotaNews("tokens", 160000, 159976, 360.0, 60.0),
    ]


def test_groq_counts_requests_by_the_day() -> None:
    headers = ratelimit(
        limit_requests="14400",
        remaining_requests="14370",
        reset_requests="2m59.56s",
        limit_tokens="18000",
        remaining_tokens="17997",
        reset_tokens="7.66s",
    )
    assert read_quota("groq", headers) == [
        QuotaNews("requests", 14400, 14370, pytest.approx(179.56), 86_400.0),
        QuotaNews("tokens", 18000, 17997, 7.66, 60.0),
    ]


def test_azure_says_zero_and_minus_one_where_it_does_not_know() -> None:
    headers = ratelimit(
        limit_requests="-1",
        remaining_requests="-1",
        limit_tokens="80000",
        remaining_tokens="0",
        reset_tokens="42",
    )
    assert read_quota("azure", headers) == [QuotaNews("tokens", 80000, None, 42.0, 60.0)]
    assert read_quota("azure", ratelimit(limit_requests="0", remaining_requests="0")) == []


def test_openai_means_the_zero_it_says() -> None:
    news = read_quota("openai", ratelimit(limit_requests="3", remaining_requests="0", reset_requests="20s"))
    assert news == [QuotaNews("requests", 3, 0, 20.0, 60.0)]


def test_anthropic_times_are_read_relative_to_the_date_of_the_answer() -> None:
    headers = {
        "date": DATE,
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:01Z",
        "anthropic-ratelimit-tokens-limit": "40000",
        "anthropic-ratelimit-tokens-remaining": "39000",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T01:00:30+01:00",
    }
    assert read_quota("anthropic", headers) == [
        QuotaNews("requests", 50, 49, 1.0, 60.0),
        QuotaNews("tokens", 40000, 39000, 30.0, 60.0),
    ]
    del headers["date"]
    assert [news.reset_after for news in read_quota("anthropic", headers)] == [None, None]


def test_mistral_and_cerebras_name_the_period_and_the_shortest_counts() -> None:
    mistral = ratelimit(
        limit_req_10_second="60",
        remaining_req_10_second="59",
        limit_tokens_minute="500000",
        remaining_tokens_minute="499000",
        limit_tokens_month="1000000000",
        remaining_tokens_month="999",
    )
    assert read_quota("per_period", mistral) == [
        QuotaNews("requests", 60, 59, None, 10.0),
        QuotaNews("tokens", 500000, 499000, None, 60.0),
    ]
    rates = Rates(None, None, 0.0)
    for news in read_quota("per_period", mistral):
        rates.learn(news, None, 0.0)
    assert rates.most_tokens == 500000, "the month's limit must not replace the minute's"
    cerebras = ratelimit(
        limit_requests_day="1000",
        remaining_requests_day="900",
        reset_requests_day="33011.382867",
        limit_tokens_minute="60000",
        remaining_tokens_minute="59000",
        reset_tokens_minute="11.38",
    )
    assert read_quota("per_period", cerebras) == [
        QuotaNews("requests", 1000, 900, 33011.382867, 86_400.0),
        QuotaNews("tokens", 60000, 59000, 11.38, 60.0),
    ]


def test_a_unix_time_in_milliseconds_is_read_as_of_openrouter() -> None:
    headers = {**ratelimit(limit="20", remaining="0", reset="1767225645000"), "date": DATE}
    assert read_quota("plain", headers) == [QuotaNews("requests", 20, 0, 45.0, None)]


def test_together_counts_by_the_second_and_no_call_is_too_large_for_it() -> None:
    headers = {
        **ratelimit(limit="10", remaining="9", reset="1"),
        "x-tokenlimit-limit": "3000",
        "x-tokenlimit-remaining": "2990",
    }
    news = read_quota(find_host("together").quota_headers, headers)
    assert news == [QuotaNews("requests", 10, 9, 1.0, 1.0)]


def test_fireworks_limits_are_left_unread_for_their_period_is_not_known() -> None:
    headers = ratelimit(limit_tokens_prompt="60000", limit_tokens_generated="6000", limit_requests="600")
    assert read_quota(find_host("fireworks").quota_headers, headers) == []


def test_azures_limits_are_by_the_minute_whatever_its_renewal_period() -> None:
    # As recorded at a deployment of 1.5 million tokens a minute, which has 9,000 requests a minute.
    headers = ratelimit(limit_requests="9000", remaining_requests="8999", renewalperiod_requests="10")
    assert read_quota("azure", headers) == [QuotaNews("requests", 9000, 8999, None, 60.0)]


def test_a_host_nothing_is_known_of_may_use_any_form() -> None:
    assert read_quota("any", ratelimit(limit_requests="5")) == read_quota(
        "openai", ratelimit(limit_requests="5")
    )
    headers = {"anthropic-ratelimit-requests-limit": "50"}
    assert read_quota("any", headers) == read_quota("anthropic", headers)


@pytest.mark.parametrize("start", ["x-ratelimit", "ratelimit", "x-rate-limit", "x-rl"])
def test_an_unknown_host_may_use_any_plain_names(start: str) -> None:
    headers = {f"{start}-limit": "100", f"{start}-remaining": "40", f"{start}-reset": "30"}
    assert read_quota("any", headers) == [QuotaNews("requests", 100, 40, 30.0, None)]


@pytest.mark.parametrize("told", ["limit=100, remaining=40, reset=30", '"default";q=100;r=40;t=30'])
def test_an_unknown_host_may_use_one_header_for_all(told: str) -> None:
    assert read_quota("any", {"ratelimit": told}) == [QuotaNews("requests", 100, 40, 30.0, None)]


def test_headers_sent_twice_mean_the_more_cautious_value() -> None:
    headers = ratelimit(limit_requests="60, 60", remaining_requests="5, 3", reset_requests="1s, 2s")
    assert read_quota("openai", headers) == [QuotaNews("requests", 60, 3, 2.0, 60.0)]


def test_the_reset_of_a_used_up_quota() -> None:
    headers = ratelimit(remaining="0", reset="30", remaining_requests="0", reset_requests="1m")
    assert read_reset(headers) == 60.0
    assert read_reset(ratelimit(remaining="1", reset="30")) is None
    assert read_reset(ratelimit(remaining="0", reset="soon")) is None


def test_no_headers_tell_nothing() -> None:
    for family in FAMILIES:
        assert read_quota(family, {"content-type": "application/json"}) == []


def test_every_host_has_a_family_there_is() -> None:
    for host in HOSTS.values():
        assert host.quota_headers in FAMILIES, host.provider


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown family"):
        read_quota("nobody", {})


@given(st.sampled_from(sorted(FAMILIES)), st.data())
def test_no_value_of_a_header_makes_nonsense(family: str, data: st.DataObject) -> None:
    values = st.text(max_size=12) | st.sampled_from(
        ["nan", "inf", "-inf", "-5", "1e999", "1e300", "9" * 400, ""]
    )
    names = [name for row in FAMILIES[family] for name in (row.limit, row.remaining, row.reset)]
    for news in read_quota(family, {name: data.draw(values) for name in [*names, "date"]}):
        assert news.limit is None or 0 < news.limit <= 1e15
        assert news.remaining is None or 0 <= news.remaining <= 1e15
        assert news.reset_after is None or 0 <= news.reset_after <= YEAR


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "0.75"}, 0.75),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500ms"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "20"}, 1.5),
        ({"x-ms-retry-after-ms": "250", "retry-after": "20"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "20"}, 20.0),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "0"}, 0.0),
        ({"retry-after-ms": "0", "retry-after": "soon"}, 0.0),
        ({"retry-after-ms": "0", "x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Wed, 01 Jan 2020 00:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1e300"}, YEAR),
        ({"retry-after": "9" * 1000}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "2, 2"}, 2.0),
        ({"retry-after": "2, 5"}, 5.0),
        ({"retry-after-ms": "1500, 1500"}, 1.5),
        ({"retry-after": "5s"}, 5.0),
        ({"retry-after": "30 seconds"}, 30.0),
        ({"retry-after": "2 Minutes"}, 120.0),
        ({"retry-after": '"5"'}, 5.0),
        ({"retry-after": "1767225630", "date": DATE}, 30.0),
        ({"retry-after": "1767225630000", "date": DATE}, 30.0),
        ({"retry-after": "1767225630"}, None),
        ({"retry-after": "2026-01-01T00:00:30Z", "date": DATE}, 30.0),
        (
            {
                "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT, Thu, 01 Jan 2026 00:00:40 GMT",
                "date": f"{DATE}, {DATE}",
            },
            40.0,
        ),
        ({"retry-after": "Fri, 31 Feb 2026 99:99:99 GMT", "date": DATE}, None),
        ({}, None),
    ],
)
def test_when_to_come_back_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers) == seconds


def test_a_wall_clock_helps_where_an_answer_has_no_date() -> None:
    assert read_retry_after({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, AT_DATE) == 30.0


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_retry_after_is_a_bounded_wait_or_none(told: str, date: str) -> None:
    for name in ("retry-after", "retry-after-ms", "x-ms-retry-after-ms"):
        wait = read_retry_after({name: told, "date": date})
        assert wait is None or (math.isfinite(wait) and 0 <= wait <= YEAR)


@pytest.mark.parametrize(
    ("told", "read"),
    [("true", True), ("false", False), ("False ", False), ("maybe", None), ("", None), (None, None)],
)
def test_an_order_to_retry(told: str | None, read: bool | None) -> None:
    assert read_should_retry({} if told is None else {"x-should-retry": told}) is read


def test_the_id_for_the_providers_support() -> None:
    assert read_request_id({"cf-ray": "ray", "x-request-id": "req"}) == "req"
    assert read_request_id({"request-id": "req_a"}) == "req_a"
    assert read_request_id({}) is None
