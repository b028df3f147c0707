"""What a call reserves of the tokens per minute, and what its answer is settled with."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.providers import token_account
from callgate.providers.canonical.size import count_characters
from callgate.providers.hosts import find_host
from callgate.providers.token_account import TokenAccount
from callgate.response import Response, Usage

LONG: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "x" * 3988}],
    "max_tokens": 500,
}


def answer(read: int, written: int, cached: int = 0) -> Response:
    return Response(text="x", usage=Usage(read, written, cache_read_tokens=cached))


@pytest.mark.parametrize(
    ("provider", "actual"),
    [
        ("openai", 1500.0),  # what was bounded by max_tokens stays reserved
        ("gemini", 1100.0),  # what was written counts
        ("groq", 1100.0),  # the bound stays, what came from the cache is spared
        ("anthropic", 700.0),
    ],
)
def test_an_answer_is_settled_as_its_host_counts(provider: str, actual: float) -> None:
    account, calling = TokenAccount(find_host(provider)), Calling(LONG)
    assert account.estimate(calling) == 1500.0
    assert account.actual(calling, answer(1000, 100, cached=400)) == actual


def test_an_answer_that_does_not_tell_its_usage_is_not_settled() -> None:
    account = TokenAccount(find_host("openai"))
    assert account.actual(Calling(LONG), Response(text="x")) is None


def test_the_estimate_learns_from_what_the_answers_tell() -> None:
    account = TokenAccount(find_host("gemini"))
    for _ in range(500):
        account.actual(Calling(LONG), answer(2000, 50))
    assert account.estimate(Calling(LONG)) == pytest.approx(2050.0, rel=0.02)


def test_a_payload_is_counted_once_and_another_one_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Any] = []

    def count(payload: Any) -> int:
        counted.append(payload)
        return count_characters(payload)

    monkeypatch.setattr(token_account, "count_characters", count)
    account, calling = TokenAccount(find_host("openai")), Calling(LONG)
    account.estimate(calling)
    account.estimate(calling)
    account.actual(calling, answer(1000, 100))
    assert counted == [LONG]
    calling.payload = again = {**LONG, "messages": [*LONG["messages"], {"role": "user", "content": "Again."}]}
    account.estimate(calling)
    account.actual(calling, answer(1000, 100))
    assert counted == [LONG, again]


def test_a_payload_that_is_no_request_reserves_nothing() -> None:
    account = TokenAccount()
    assert account.estimate(Calling("text")) == 0.0
    assert account.actual(Calling("text"), answer(10, 5)) == 15.0
