"""Every Python block of the services document (002) runs against the simulator and does what its prose says.

No block names a host: the simulator's address stands in the variables that the official SDKs read. A block
that cannot run as it stands is completed where the test says so, with the reason.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import callgate
from callgate import Calling, ServiceRegistry, iModel
from callgate.testing import Simulator
from tests.documents.blocks import SERVICES, Block, complete, read_blocks, run

BLOCKS = read_blocks(SERVICES)
TEXT = "The Moon is small."
HELLO = 'messages=[{"role": "user", "content": "Hello!"}]'
ASK_CLAUDE = f'model="claude-sonnet-4-5", {HELLO}'
ASK_GPT = f'model="gpt-4o-mini", {HELLO}'
ELLIPSIS = "`invoke(...)` leaves out what is asked"

Provide = Callable[..., Simulator]


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provide]:
    """Starts a simulator that every provider of the document is found at, with the keys it names."""
    running: list[Simulator] = []

    def start(**options: Any) -> Simulator:
        sim = Simulator(**{"answers": lambda _: TEXT, **options}).__enter__()
        running.append(sim)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", sim.url)
        monkeypatch.setenv("OPENAI_BASE_URL", sim.base_url)
        monkeypatch.setenv("GROQ_BASE_URL", sim.base_url)
        return sim

    for provider in ("ANTHROPIC", "OPENAI", "GROQ"):
        monkeypatch.setenv(f"{provider}_API_KEY", f"key-of-{provider.lower()}")
    yield start
    for sim in running:
        sim.__exit__(None, None, None)


def block(number: int, heading: str) -> Block:
    found = BLOCKS[number - 1]
    assert found.heading == heading
    return found


def halves(whole: Block, second: str) -> tuple[Block, Block]:
    """What stands before the line `second`, and what from there on; both keep the document's lines."""
    before, after = whole.code.split(second, 1)
    return replace(whole, code=before), replace(
        whole, code=second + after, line=whole.line + before.count("\n")
    )


def ends_well(calling: Any) -> bool:
    assert isinstance(calling, Calling)
    return calling.error is None and calling.response.text == TEXT


def test_the_document_has_no_block_that_is_not_run_here() -> None:
    source = inspect.getsource(inspect.getmodule(block) or callgate)
    numbers = [number for number in range(1, len(BLOCKS) + 1) if f"block({number}, " in source]
    assert numbers == [found.number for found in BLOCKS]


def test_block_1_every_name_of_the_module_exports_is_ours() -> None:
    names, _ = run(block(1, "Module Exports"))
    assert names["iModel"] is callgate.iModel
    for name in ("ServiceRegistry", "ServiceBackend", "Endpoint", "Tool", "EndpointConfig", "Calling"):
        assert names[name] is getattr(callgate, name)


def test_block_2_a_provider_by_name_and_one_call(provide: Provide) -> None:
    sim = provide(keys=["key-of-anthropic"])
    names, printed = run(block(2, "Basic Usage (Auto-Matching)"))
    assert printed == TEXT + "\n"
    assert names["model"].name == "anthropic_messages"
    assert names["calling"].response.model == "claude-sonnet-4-5"
    assert sim.stats.accepted == 1


def test_block_3_limits_per_minute_are_kept(provide: Provide) -> None:
    provide()
    names, _ = run(block(3, "With Rate Limiting"))
    assert ends_well(names["calling"])
    limiter = names["model"].limiter.snapshot()
    assert (limiter.requests.quota.rate, limiter.requests.quota.period) == (50, 60.0)
    assert (limiter.tokens.quota.rate, limiter.tokens.quota.period) == (100_000, 60.0)


def test_block_4_a_backend_with_breaker_and_retry(provide: Provide) -> None:
    sim = provide(answers=[500, TEXT])
    names, _ = run(block(4, "With Circuit Breaker and Retry"))
    model = names["model"]
    assert (model.backend.retry_config.max_retries, model.backend.retry_config.base_delay) == (3, 1.0)
    assert model.backend.circuit_breaker.failure_threshold == 5
    calling = model.invoke_sync(model="claude-sonnet-4-5", messages=[{"role": "user", "content": "Hello!"}])
    model.close_sync()
    assert ends_well(calling)
    assert len(calling.attempts) == sim.stats.requests == 2


def test_block_5_a_stream_is_printed_as_it_comes_and_fanned_out(provide: Provide) -> None:
    sim = provide()
    names, printed = run(block(5, "Streaming"))
    words = ["The", " Moon", " is", " small."]
    # First the stream of its own; then each chunk a line, the last of them the empty final one.
    assert printed == "".join(words) + "\n".join([*words, "", ""])
    assert names["full_text"] == TEXT
    assert sim.stats.accepted == 2


def test_block_6_a_registry_by_name_and_by_tag(provide: Provide) -> None:
    provide()
    whole = complete(
        block(6, "Service Registry"), "model.invoke(...)", f"model.invoke({ASK_CLAUDE})", reason=ELLIPSIS
    )
    names, _ = run(whole)
    assert ends_well(names["calling"])
    assert names["calling"].response.model == "claude-sonnet-4-5"
    assert [model.name for model in names["backends"]] == ["anthropic_messages", "openai_chat"]


def test_block_7_models_of_three_providers(provide: Provide) -> None:
    sim = provide()
    names, _ = run(block(7, "Pattern 1: Multi-Provider Setup"))
    asked = {"fast_model": "llama-3.3-70b-versatile", "smart_model": "claude-sonnet-4-5", "cheap_model": "m"}
    for name, model in asked.items():
        calling = names[name].invoke_sync(model=model, messages=[{"role": "user", "content": "Hello!"}])
        names[name].close_sync()
        assert ends_well(calling), name
    assert sim.stats.accepted == 3


def test_block_8_a_tool_is_a_service_like_any_other() -> None:
    names, printed = run(block(8, "Pattern 2: Tool Integration"))
    weather = {"temp": 22, "conditions": "sunny", "location": "San Francisco"}
    assert printed == f"{weather}\n"
    assert names["calling"].response.data == weather
    assert isinstance(names["registry"], ServiceRegistry)


def test_block_8_a_tool_refuses_what_does_not_fit_its_model() -> None:
    names, _ = run(block(8, "Pattern 2: Tool Integration"))
    calling = names["tool_model"].invoke_sync(units="kelvin")
    names["tool_model"].close_sync()
    with pytest.raises(callgate.ToolError, match="location"):
        _ = calling.response


def test_block_9_a_model_is_written_to_a_file_and_restored(
    provide: Provide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(keys=["key-of-anthropic"])
    monkeypatch.chdir(tmp_path)
    whole = complete(
        block(9, "Pattern 3: Serialization and Persistence"),
        "restored.invoke(...)",
        f"restored.invoke({ASK_CLAUDE})",
        reason=ELLIPSIS,
    )
    names, _ = run(whole)
    assert ends_well(names["calling"])
    written = (tmp_path / "model_config.json").read_text()
    assert "key-of-anthropic" not in written
    assert json.loads(written) == names["config"] == names["restored"].to_dict()
    assert names["restored"].id != names["model"].id


def test_block_10_hooks_see_request_and_answer(provide: Provide) -> None:
    provide()
    whole = complete(
        block(10, "Pattern 4: Hook-Based Observability"),
        "model.invoke(...)",
        f"model.invoke({ASK_GPT})",
        reason=ELLIPSIS,
    )
    names, printed = run(whole)
    assert ends_well(names["calling"])
    request, response = printed.splitlines()
    assert request.startswith("Request: {")
    assert "Hello!" in request
    assert response.startswith("Response: Response(")
    assert TEXT in response


def test_block_11_a_tool_cannot_be_written_down_an_endpoint_can(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, right = halves(block(11, "Pitfall 1: Tool Serialization"), "# ✅ CORRECT")
    names: dict[str, Any] = {}
    with pytest.raises(NotImplementedError, match="my_function"):
        run(
            complete(
                wrong,
                "",
                "from callgate import Tool, iModel\ndef my_function(): pass\n",
                reason="the block imports nothing, and nobody defines my_function",
            )
        )
    names, _ = run(
        complete(
            right,
            "",
            "from callgate import AnthropicMessagesEndpoint, iModel\n",
            reason="the block imports nothing",
        )
    )
    assert json.loads(json.dumps(names["config"])) == names["config"]


def test_block_12_warns_of_a_renamed_variable_and_clears_a_raw_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLD_ENV_VAR", "the-key")
    monkeypatch.delenv("NEW_ENV_VAR", raising=False)
    wrong, right = halves(block(12, "Pitfall 2: Missing API Key After Deserialization"), "# ✅ CORRECT")
    renames = "import os; os.environ['NEW_ENV_VAR'] = os.environ.pop('OLD_ENV_VAR')"
    renamed = complete(
        complete(wrong, "", "from callgate import iModel\n", reason="the block imports nothing"),
        "# ... later, env var renamed to NEW_ENV_VAR",
        renames,
        reason="what the comment tells has to happen",
    )
    with pytest.raises(ValueError, match="OLD_ENV_VAR"):
        run(renamed)
    names, _ = run(complete(right, "", "from callgate import iModel\n", reason="the block imports nothing"))
    assert "raw_credential" not in json.dumps(names["model"].to_dict())


def test_block_13_a_slow_model_is_given_the_time_it_needs(provide: Provide) -> None:
    provide(latency=0.05)
    opening, patient = halves(block(13, "Pitfall 3: Rate Limit Timeout on Slow Calls"), "# ✅ CORRECT")
    imported = complete(opening, "", "from callgate import iModel\n", reason="the block imports nothing")
    # There is no deadline that the caller did not ask for: the document's ten seconds are its original's.
    names, _ = run(complete(imported, "model.invoke(...)", f"model.invoke({ASK_CLAUDE})", reason=ELLIPSIS))
    assert ends_well(names["calling"])
    model = iModel(provider="anthropic", limit_requests=10)
    completed = complete(
        patient,
        "    ...\n",
        f"    {ASK_CLAUDE}\n",
        reason="a bare ... after a keyword argument is a SyntaxError",
    )
    names, _ = run(completed, model=model)
    assert ends_well(names["calling"])
    short = model.invoke_sync(
        model="claude-sonnet-4-5", messages=[{"role": "user", "content": "Hello!"}], poll_timeout=0.01
    )
    model.close_sync()
    with pytest.raises(TimeoutError, match="poll_timeout"):
        _ = short.response


def test_block_14_a_restored_model_has_its_full_capacity(provide: Provide) -> None:
    provide()
    whole = complete(
        complete(
            block(14, "Pitfall 4: Executor State Not Preserved"),
            "",
            "from callgate import iModel\n",
            reason="the block imports nothing",
        ),
        "# ... use 40 requests",
        f"for _ in range(4): await model.invoke({ASK_GPT})",
        reason="what the comment tells has to happen; 40 of 50 a minute are paced over most of it, 4 are not",
    )
    names, _ = run(whole)
    assert names["model"].limiter.snapshot().requests.used == 4
    restored = names["restored"].limiter.snapshot().requests
    assert (restored.used, restored.quota.rate) == (0, 50)


def test_block_15_a_calling_is_made_first_and_invoked_later(provide: Provide) -> None:
    sim = provide()
    model = iModel(provider="openai")
    whole = complete(
        block(15, "Request Validation Overhead"),
        "messages=[...]",
        HELLO,
        reason="an ellipsis is no message",
    )
    names, _ = run(whole, model=model)
    assert ends_well(names["calling"])
    assert names["calling"].timeout == 120.0
    assert sim.stats.accepted == 1


def test_block_16_the_same_answer_streamed_and_whole(provide: Provide) -> None:
    sim = provide()
    processed: list[str] = []
    whole = block(16, "Streaming vs Batch")
    for invocation in ("model.invoke_stream(...)", "model.invoke(...)"):
        whole = complete(whole, invocation, invocation.replace("...", ASK_GPT), reason=ELLIPSIS)
    run(whole, model=iModel(provider="openai"), process=lambda said: processed.append(str(said)))
    assert "".join(processed[:-1]) == processed[-1] == TEXT
    assert sim.stats.accepted == 2, "a stream is counted like any call"
