"""What the options name as targets, and the models made of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.batch.input.rows import Row
from callgate.batch.options import RunOptions
from callgate.batch.targets import _settings, fingerprints_of, open_model, read_targets
from callgate.errors import ConfigurationError
from callgate.model.spread import Spread
from callgate.policies.retry.config import RetryConfig


def options(*models: str, **given: Any) -> RunOptions:
    return RunOptions(input="in.jsonl", model=models or ("openai/m",), **given)


def test_a_long_retry_after_raises_the_wait_that_one_call_may_add_up() -> None:
    config = _settings(options(max_retry_after=3600.0))["retry_config"]
    assert isinstance(config, RetryConfig)
    assert (config.max_retries, config.max_retry_after, config.max_quota_wait) == (3, 3600.0, 7200.0)


def test_no_retries_turn_the_policy_off_and_the_default_leaves_it_alone() -> None:
    assert _settings(options(retries=0, max_retry_after=5.0))["retry_config"] is None
    assert "retry_config" not in _settings(options())


def test_one_of_a_kind_stands_for_all_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-1")
    targets = read_targets(options("openai/a", "groq/b/c", api_key_env=("A_KEY",)))
    assert [(each.provider, each.model, each.api_key) for each in targets] == [
        ("openai", "a", "A_KEY"),
        ("groq", "b/c", "A_KEY"),
    ]


def test_options_that_differ_in_number_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="base_url names 2 where another option names 3") as raised:
        read_targets(options("a/1", "b/2", "c/3", base_url=("http://x", "http://y")))
    assert raised.value.setting == "base_url"


@pytest.mark.parametrize(
    "key",
    [
        "sk-canary-5f2e91",
        "gsk_canary5f2e91abcdefgh",
        "AIzaCanary5f2e91",
        "AKIACANARY5F2E91ABCD",
        "canary5f2e91",
    ],
)
def test_a_key_in_the_place_of_a_variable_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_targets(options(api_key_env=(key,)))
    assert key not in str(raised.value)
    assert "name of an environment variable, such as OPENAI_API_KEY" in str(raised.value)


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEAM_B_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="the environment variable TEAM_B_KEY is not set"):
        read_targets(options(api_key_env=("TEAM_B_KEY",)))


def test_a_target_does_not_show_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("lower_case", "sk-canary-1")
    (target,) = read_targets(options(api_key_env=("lower_case",), base_url=("http://127.0.0.1:1",)))
    assert target.api_key == "sk-canary-1"
    assert repr(target) == "Target('openai/m at http://127.0.0.1:1')"


def test_two_keys_of_one_provider_become_a_spread_of_numbered_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_1", "sk-1")
    monkeypatch.setenv("KEY_2", "sk-2")
    given = options(api_key_env=("KEY_1", "KEY_2"))

    async def names() -> list[str]:
        async with open_model(given, read_targets(given)) as model:
            assert isinstance(model, Spread)
            return [each.name for each in model.models]

    assert asyncio.run(names()) == ["openai/m #1", "openai/m #2"]


@pytest.mark.parametrize(
    ("models", "holds"), [(("openai/a", "openai/a"), True), (("openai/a", "openai/b"), False)]
)
def test_a_row_s_own_model_is_part_of_its_fingerprint_where_it_holds(
    models: tuple[str, ...], holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEY_1", "KEY_2"):
        monkeypatch.setenv(name, "sk-1")
    chosen = options(*models, api_key_env=("KEY_1", "KEY_2"))

    async def main() -> set[bytes]:
        async with open_model(chosen, read_targets(chosen), lambda *_: None) as model:
            prints = fingerprints_of(model, None)
        return {prints.of(Row(0, 1, "x", 1, {"messages": [], "model": name}), "a") for name in ("c", "d")}

    assert len(asyncio.run(main())) == (2 if holds else 1)
