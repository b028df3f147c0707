"""What reaches the command line names its options, and no keyword of Python's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import callgate
from callgate.cli.messages import PHRASES, in_options
from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows

Run = Callable[..., CommandResult]
Simulate = Callable[..., Simulator]
ELSEWHERE = "http://10.0.0.5:8000/v1"


def test_each_phrase_that_is_said_otherwise_is_one_of_ours() -> None:
    root = Path(callgate.__file__).parent
    texts = [path.read_text() for path in root.rglob("*.py") if path.name != "wording.py"]
    # A literal may go on in the next line.
    written = "".join(texts).replace('"\n', "").replace(" ", "").replace('f"', "").replace('"', "")
    missing = [python for python, _ in PHRASES if python.replace(" ", "").replace('"', "") not in written]
    assert missing == []


def test_a_providers_own_words_stay_as_they_are() -> None:
    theirs = "400: max_tokens is too large: pass a smaller timeout= or api_key"
    assert in_options(theirs) == theirs


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["-m", "openai/m"],
            "no key for openai: set OPENAI_API_KEY, or name the variable that holds it: --api",
        ),
        (["-m", "bedrock/m"], "region"),
        (["-m", "nobody/m"], "give --base-url for a server of your own"),
        (["-m", "azure/m"], "give --base-url, or a provider out of"),
        (["-m", "openai/m", "--base-url", ELSEWHERE, "--api-key-env", "A_KEY"], "or --allow-http if that is"),
        (
            ["-m", "openai/m", "--base-url", "https://a:b@h.example"],
            "a user name or password; leave them out",
        ),
        (
            ["-m", "openai/m", "--base-url", "http://127.0.0.1:1", "--cache-ttl", "7d"],
            "--cache-ttl: says some",
        ),
        (
            ["-m", "openai/m", "--base-url", "http://127.0.0.1:1", "--sample", "1"],
            "--sample: says something of",
        ),
        (
            ["-m", "openai/m", "--cache", "c", "--cache-ttl", "soon"],
            "--cache-ttl: takes a number and one of s",
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


def test_a_server_without_a_key_may_be_on_another_machine(
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
        " use https://, or --allow-http if that is meant\n"
    )
    assert callgate(*dry, "-m", "openai/m", "--allow-http").code == 0


def test_a_retry_after_that_is_too_long_says_what_to_raise_and_is_waited_for_when_that_is_raised(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate(faults={"429": 1.0}, fault_retry_after=1.0)
    write_rows("in.jsonl", prompts(1))
    target = ["-m", "openai/gpt-4o-mini", "-o", "out.jsonl", "--base-url", sim.base_url]
    ended = callgate("run", "in.jsonl", *target, "--max-retry-after", "0.5")
    assert ended.code == 1
    assert "was told to come back in 1 s, more than the 0.5 s callgate waits (--max-retry-after)" in ended.out
    assert "worth another try, by then" in ended.out
    assert "unless something is changed" not in ended.out
    assert sim.stats.requests == 1


def test_a_longer_retry_after_than_usual_is_waited_for(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    from callgate.cli.endpoints import _retry_config
    from callgate.cli.run import RunOptions

    made = _retry_config(RunOptions("i", "m", "o", max_retry_after=3600.0))
    assert made is not None
    assert (made.max_retries, made.max_retry_after, made.max_quota_wait) == (3, 3600.0, 7200.0)
    assert _retry_config(RunOptions("i", "m", "o", retries=0, max_retry_after=5.0)) is None


def test_an_attempt_that_took_too_long_names_the_option(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate(latency=5.0)
    write_rows("in.jsonl", prompts(1))
    target = ["-m", "openai/gpt-4o-mini", "-o", "out.jsonl", "--base-url", sim.base_url]
    ended = callgate("run", "in.jsonl", *target, "--timeout", "0.2", "--retries", "0")
    assert ended.code == 1
    assert "raise --timeout if the model is slow" in ended.out
    assert read_lines("out.jsonl.errors.jsonl")[0]["error"]["code"] is not None
