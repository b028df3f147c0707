"""Errors that only their words tell from others."""

from __future__ import annotations

import pytest

from callgate.errors import (
    ContentFilterError,
    ContextLengthError,
    QuotaExhaustedError,
    RateLimitError,
    ResourceNotFoundError,
)
from callgate.providers.canonical.wording import kind_of_refusal


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        "Your input exceeds the context window of this model.",
        "Input tokens exceed the configured limit of 272000 tokens.",
        "Invalid request: Your request exceeded model token limit: 8192",
        "The input token count is 40000 but model only supports up to 32768.",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens",
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 1200",
        "the request exceeds the available context size",
    ],
)
def test_a_request_that_is_too_long(message: str) -> None:
    assert kind_of_refusal(message) is ContextLengthError


@pytest.mark.parametrize(
    "message",
    [
        "Your credit balance is too low to access the Anthropic API.",
        "Your team has either used all available credits or reached its monthly spending limit.",
        "Your newly created team doesn't have any credits yet.",
        "Access denied, please make sure your account is in good standing.",
        "Your account is in arrears",
        "You have exceeded your monthly spending limit",
        "Insufficient Balance",
    ],
)
def test_a_spent_account(message: str) -> None:
    assert kind_of_refusal(message) is QuotaExhaustedError


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit exceeded",
        "Requests rate limit exceeded",
        "You have exceeded your rate limit",
        "Out of call volume quota. Quota will be replenished in 02:15:30.",
    ],
)
def test_a_quota_under_another_status(message: str) -> None:
    assert kind_of_refusal(message) is RateLimitError


def test_a_model_that_does_not_exist_and_a_filter() -> None:
    assert kind_of_refusal("x/y is not a valid model ID") is ResourceNotFoundError
    assert kind_of_refusal("Output blocked by content filtering policy") is ContentFilterError


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens",
        "max_tokens must be at least 1, got -20.",
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens",
        "messages.0: expected a list",
        "temperature: range: 0..1",
        "",
    ],
)
def test_any_other_invalid_request_is_none_of_these(message: str) -> None:
    assert kind_of_refusal(message) is None
