"""What reaches the command line names its options, and no keyword of Python's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from callgate.cli.messages import explain
from callgate.errors import (
    APITimeoutError,
    BatchStoppedError,
    ConfigurationError,
    InvalidRequestError,
    ServerError,
)
from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows

Run = Callable[..., CommandResult]
Simulate = Callable[..., Simulator]
ELSEWHERE = "http://10.0.0.5:8000/v1"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (APITimeoutError("late", setting="timeout", remedy="raise"), "late; raise --timeout"),
        (
            ConfigurationError("timeout must be above 0", setting="timeout"),
            "timeout must be above 0 (--timeout)",
        ),
        (
            ConfigurationError("it is silent", setting="read_timeout", remedy="raise"),
            "it is silent; raise --no-bytes-timeout",
        ),
        (ConfigurationError("no region", setting="region"), "no region"),
        (
            BatchStoppedError(
                "3 rows failed", error=ServerError("", setting="model", remedy="change"), count=3
            ),
            "3 rows failed: The provider failed (5xx).; change --model",
        ),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_names_the_option_of_its_setting(error: Exception, text: str) -> None:
    assert explain(error) == text


def test_text_of_a_provider_stays_as_it_is() -> None:
    theirs = "max_tokens is too large: pass a smaller timeout= or api_key"
    assert explain(InvalidRequestError(theirs, status_code=400)) == f"400: {theirs}"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["-m", "openai/m"],
            "no key for openai; set OPENAI_API_KEY, or give --api-key-env",
        ),
        (["-m", "bedrock/m"], "region"),
        (["-m", "unknown/m"], "for a server of your own, give --base-url"),
        (["-m", "azure/m"], "azure has no default address; set AZURE_OPENAI_ENDPOINT, or give --base-url"),
        (
            ["-m", "openai/m", "--base-url", ELSEWHERE, "--api-key-env", "A_KEY"],
            "use https://, or to allow it set --allow-http",
        ),
        (
            ["-m", "openai/m", "--base-url", "https://a:b@h.example"],
            "a user name or password; send these in a header (--base-url)",
        ),
        (
            ["-m", "openai/m", "--base-url", "http://127.0.0.1:1", "--cache-ttl", "7d"],
            "cache_ttl needs a cache (--cache)",
        ),
        (
            ["-m", "openai/m", "--base-url", "http://127.0.0.1:1", "--sample", "1"],
            "sample needs a cache (--cache)",
        ),
        (
            ["-m", "openai/m", "--cache", "c", "--cache-ttl", "soon"],
            "cache_ttl takes a number and one of s, m, h, d, w, such as 90m, got 'soon' (--cache-ttl)",
        ),
    ],
)
def test_settings_that_cannot_work(
    folder: Path, callgate: Run, monkeypatch: pytest.MonkeyPatch, options: list[str], says: str
) -> None:
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("A_KEY", "sk-canary-03")
    write_rows("in.jsonl", prompts(1))
    if options[1] == "bedrock/m":
        options = [*options, "--base-url", "https://bedrock-runtime.{region}.amazonaws.com"]
    ended = callgate("run", "in.jsonl", "-o", "out.jsonl", *options)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert "=" not in ended.err.replace("base-url=", "")
    assert "sk-canary" not in ended.err


def test_a_server_without_a_key_may_use_http_on_another_machine(
    folder: Path, callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    write_rows("in.jsonl", prompts(1))
    dry = ("run", "in.jsonl", "-o", "out.jsonl", "--dry-run", "--base-url", ELSEWHERE)
    assert callgate(*dry, "-m", "vllm/llama").code == 0
    refused = callgate(*dry, "-m", "openai/m")
    assert refused.code == 2
    assert refused.err == (
        "callgate: http://10.0.0.5 would send keys in the clear;"
        " use https://, or to allow it set --allow-http\n"
    )
    assert callgate(*dry, "-m", "openai/m", "--allow-http").code == 0


def test_a_retry_after_that_is_too_long_names_the_option_to_raise(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate(faults={"429": 1.0}, fault_retry_after=1.0)
    write_rows("in.jsonl", prompts(1))
    target = ["-m", "openai/gpt-4o-mini", "-o", "out.jsonl", "--base-url", sim.base_url]
    ended = callgate("run", "in.jsonl", *target, "--max-retry-after", "0.5")
    assert ended.code == 1
    assert "more than the allowed 0.5 s; raise --max-retry-after" in ended.out
    assert "run again after that time" in ended.out
    assert "before another run" not in ended.out
    assert sim.stats.requests == 1


def test_a_timeout_names_its_option(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(latency=5.0)
    write_rows("in.jsonl", prompts(1))
    target = ["-m", "openai/gpt-4o-mini", "-o", "out.jsonl", "--base-url", sim.base_url]
    ended = callgate("run", "in.jsonl", *target, "--timeout", "0.2", "--retries", "0")
    assert ended.code == 1
    assert "if the model is slow, raise --timeout" in ended.out
    assert read_lines("out.jsonl.errors.jsonl")[0]["error"]["code"] is not None
