"""`-m`, `--api-key-env` and `--base-url` together say whom to call."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from callgate.cli.targets import Target, model_of_all, open_model, read_targets
from callgate.errors import InputError
from callgate.model import iModel
from callgate.spread import Spread
from callgate.testing import Simulator


def test_one_of_each_is_one_target() -> None:
    (target,) = read_targets("openai/gpt-4o-mini", ["KEY"], ["http://127.0.0.1:1/v1"])
    assert target == Target("openai", "gpt-4o-mini", "KEY", "http://127.0.0.1:1/v1")
    assert str(target) == "openai/gpt-4o-mini (KEY, http://127.0.0.1:1/v1)"
    assert model_of_all([target]) == "gpt-4o-mini"


def test_a_model_name_may_hold_slashes_and_may_be_missing() -> None:
    assert read_targets("openrouter/meta/llama-3") == [Target("openrouter", "meta/llama-3")]
    assert read_targets("openai") == [Target("openai")]
    assert str(Target("openai")) == "openai"
    assert Target("openai").settings() == {"provider": "openai"}


def test_one_holds_for_all_and_several_are_taken_side_by_side() -> None:
    assert read_targets("a/x, b/y", ["KEY"]) == [Target("a", "x", "KEY"), Target("b", "y", "KEY")]
    assert read_targets("a/x,b/y", ["K1", "K2"]) == [Target("a", "x", "K1"), Target("b", "y", "K2")]
    assert read_targets("a/x", [], ["u1", "u2"]) == [
        Target("a", "x", None, "u1"),
        Target("a", "x", None, "u2"),
    ]
    assert model_of_all(read_targets("a/x,b/y")) is None


@pytest.mark.parametrize(
    ("models", "keys", "message"),
    [
        ("/gpt", [], "-m: names no provider"),
        ("a/x,,b/y", [], "-m: names no provider: ''"),
        ("a/x,b", [], "-m: name a model for each provider, or for none"),
        ("a/x,b/y,c/z", ["K1", "K2"], "--api-key-env: is given 2 times beside 3"),
        ("a/x,b/y", ["K1", "K2", "K3"], "-m: is given 2 times beside 3"),
        ("a/x,a/x", [], "given twice"),
        ("a/x", ["K", "K"], "given twice"),
    ],
)
def test_what_does_not_fit_together_is_told(models: str, keys: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_targets(models, keys)


def test_a_variable_that_is_not_set_is_told_before_anything_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(InputError, match="the variable NO_SUCH_KEY is not set"):
        Target("openai", "m", "NO_SUCH_KEY").settings()


def test_the_key_of_a_variable_with_an_unusual_name_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("my_key", "sk-1")
    monkeypatch.setenv("MY_KEY", "sk-2")
    assert Target("openai", None, "my_key").settings()["api_key"] == "sk-1"
    assert Target("openai", None, "MY_KEY").settings()["api_key"] == "MY_KEY"


def test_one_target_is_a_model_and_several_are_a_spread_with_one_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_1", "sk-1")
    monkeypatch.setenv("KEY_2", "sk-2")

    async def main() -> None:
        async with Simulator() as sim:
            one = read_targets("openai/m", ["KEY_1"], [sim.base_url])
            two = read_targets("openai/m", ["KEY_1", "KEY_2"], [sim.base_url])
            for cache in (None, str(tmp_path / "cache")):
                async with open_model(one, cache) as model:
                    assert isinstance(model, iModel)
                async with open_model(two, cache, limit_requests=500) as model:
                    assert isinstance(model, Spread)
                    assert [each.name for each in model.models] == [str(target) for target in two]
                    for _ in range(2):
                        calling = await model.invoke(messages=[{"role": "user", "content": "Hello!"}])
                        assert calling.response.text
            assert sim.stats.requests == 3  # the second cached one was not sent

    asyncio.run(main())
