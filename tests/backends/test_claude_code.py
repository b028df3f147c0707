"""The Claude Code endpoint: one run of the command a call, and nothing of it left behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from callgate import iModel
from callgate.backends.claude_code import ClaudeCodeEndpoint
from callgate.call.calling import Calling
from callgate.errors import (
    APITimeoutError,
    ConfigurationError,
    InvalidRequestError,
    RateLimitError,
    ResourceNotFoundError,
    ResponseError,
)
from callgate.response import Delta
from callgate.testing.simulator import Simulator
from callgate.transport.subprocess import CommandOutput, CommandRequest, CommandRunner
from tests.processes import wait_group_ended, wait_process_ended

STAND_IN = Path(__file__).with_name("fake_claude.py")
CANARY = "sk-ant-canary-7f3a"
HI = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def claude(tmp_path: Path) -> Any:
    """Makes an endpoint whose command behaves as the given mode says."""

    def make(mode: str, **options: Any) -> ClaudeCodeEndpoint:
        command = tmp_path / f"claude-{mode}"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{STAND_IN}" {mode} "$@"\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        return ClaudeCodeEndpoint(command=str(command), model="sonnet", **options)

    return make


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(bounded())


async def ask(endpoint: ClaudeCodeEndpoint, **request: Any) -> Any:
    return await endpoint.call(Calling({**endpoint.defaults, **(request or HI)}))


# -- one call ------------------------------------------------------------------------------------------------


def test_a_call_is_one_run_of_the_command(claude: Any) -> None:
    response = run(ask(claude("answer")))
    assert (response.text, response.finish_reason, response.model) == ("Hello", "stop", "claude-x")
    assert response.metadata == {"session_id": "s-1", "total_cost_usd": 0.01}


def test_it_is_given_little_of_our_environment(
    claude: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("MY_KEY", CANARY)
    endpoint = claude(
        "tell",
        api_key="MY_KEY",
        base_url="http://127.0.0.1:1",
        cwd=tmp_path,
        env={"MY_SETTING": "1"},
        args=["--tools="],
    )
    told = json.loads(run(ask(endpoint)).text)
    assert told["env"]["ANTHROPIC_API_KEY"] == CANARY
    assert told["env"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1"
    assert told["env"]["MY_SETTING"] == "1"
    assert told["env"]["PATH"] == os.environ["PATH"]
    assert "secret" not in told["env"].values()
    assert "MY_KEY" not in told["env"]
    assert (told["stdin"], told["cwd"]) == ("Hi", str(tmp_path))
    assert told["argv"][-2:] == ["--model=sonnet", "--tools="]
    assert CANARY not in " ".join(told["argv"])


def test_a_stream_passes_on_each_piece(claude: Any) -> None:
    pieces: list[str] = []

    async def work() -> Any:
        async def sink(delta: Delta) -> None:
            pieces.append(delta.text)

        calling = Calling({**HI, "model": "sonnet"})
        calling.sink = sink
        return await claude("answer").call(calling)

    assert run(work()).text == "Hello"
    assert pieces == ["Hel", "lo"]


@pytest.mark.parametrize(
    ("mode", "kind", "says"),
    [
        ("fail", RateLimitError, "429"),
        ("crash", InvalidRequestError, "--nonsense"),
        ("cut", ResponseError, "without a result"),
    ],
)
def test_each_way_to_fail_is_typed(claude: Any, mode: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        run(ask(claude(mode)))


def test_a_command_that_is_not_installed_says_how_to_install_it() -> None:
    endpoint = ClaudeCodeEndpoint(command="claude-that-is-nowhere")
    with pytest.raises(ConfigurationError, match="npm install -g @anthropic-ai/claude-code"):
        run(ask(endpoint))


def test_a_closed_endpoint_takes_no_call(claude: Any) -> None:
    async def work() -> None:
        endpoint = claude("answer")
        await endpoint.close()
        await ask(endpoint)

    with pytest.raises(RuntimeError, match="closed"):
        run(work())


def test_a_cancelled_call_leaves_no_process_behind(claude: Any) -> None:
    async def work() -> None:
        told: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

        async def sink(delta: Delta) -> None:
            told.set_result([int(pid) for pid in delta.text.split()])

        calling = Calling({**HI, "model": "sonnet"})
        calling.sink = sink
        task = asyncio.create_task(claude("hang").call(calling))
        pids = await told
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for pid in pids:
            await wait_process_ended(pid)

    run(work())


# -- in a model ----------------------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_is_ended_by_the_models_timeout(claude: Any) -> None:
    async def work() -> None:
        async with iModel(backend=claude("hang", timeout=1.5, retry_config=None)) as model:
            pids: list[int] = []
            with pytest.raises(APITimeoutError):
                async for chunk in model.invoke_stream(**HI):
                    pids += [int(pid) for pid in str(chunk).split()]
            assert len(pids) == 2
            for pid in pids:
                await wait_process_ended(pid)

    run(work())


def test_a_model_around_it_has_its_name_its_tags_and_its_defaults(claude: Any) -> None:
    async def work() -> Any:
        async with iModel(backend=claude("tell")) as model:
            calling = await model.invoke(**HI)
            return model.name, model.tags, json.loads(calling.response.text)["argv"]

    name, tags, argv = run(work())
    assert name == "claude_code_cli"
    assert tags >= {"llm", "claude_code"}
    assert "--model=sonnet" in argv


# -- written down --------------------------------------------------------------------------------------------


def test_it_is_written_down_without_a_key_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", CANARY)
    endpoint = ClaudeCodeEndpoint(
        command="/opt/claude", args=["--tools="], api_key="MY_KEY", timeout=5, model="sonnet", max_turns=2
    )
    written = json.dumps(endpoint.to_dict())
    assert CANARY not in written + repr(endpoint) + str(vars(endpoint.dialect))
    again = ClaudeCodeEndpoint.from_dict(json.loads(written))
    assert again.to_dict() == endpoint.to_dict()
    assert again.defaults == {"model": "sonnet", "max_turns": 2}
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ValueError, match="MY_KEY"):
        ClaudeCodeEndpoint.from_dict(json.loads(written))


@pytest.mark.parametrize("options", [{"api_key": "sk-raw"}, {"env": {"TOKEN": "x"}}])
def test_what_may_be_secret_is_never_written_down(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="never written down"):
        ClaudeCodeEndpoint(**options).to_dict()


# -- the real command ----------------------------------------------------------------------------------------

REAL = os.environ.get("CALLGATE_CLAUDE") or shutil.which("claude")
needs_the_command = pytest.mark.skipif(
    REAL is None, reason="Claude Code is not installed: npm install -g @anthropic-ai/claude-code"
)


class _Watched(CommandRunner):
    """Remembers which process it ran."""

    pid = 0

    @asynccontextmanager
    async def run(self, command: CommandRequest) -> AsyncIterator[CommandOutput]:
        async with super().run(command) as output:
            self.pid = output.pid
            yield output


@needs_the_command
class TestTheRealCommand:
    """Against the simulator's Anthropic endpoint, with a dummy key and a home of its own."""

    def endpoint(self, simulator: Simulator, home: Path, **options: Any) -> ClaudeCodeEndpoint:
        return ClaudeCodeEndpoint(
            command=str(REAL),
            args=["--tools="],
            cwd=home,
            env={"HOME": str(home), "ANTHROPIC_API_KEY": "dummy", "CLAUDE_CODE_MAX_RETRIES": "0"},
            base_url=simulator.url,
            model="claude-sonnet-4-5",
            **options,
        )

    def test_it_answers_and_goes_on_with_the_session(self, tmp_path: Path) -> None:
        async def work() -> tuple[Any, Any, list[str]]:
            said: list[str] = []
            async with Simulator(answers=["The moon is round.", "It is grey."]) as simulator:
                async with iModel(backend=self.endpoint(simulator, tmp_path)) as model:
                    first = (await model.invoke(prompt="What shape is the moon?")).response
                    session = first.metadata["session_id"]
                    async for chunk in model.invoke_stream(prompt="And its colour?", session_id=session):
                        said.append(str(chunk))
                    assert chunk.response is not None
                    return first, chunk.response, said

        first, second, said = run(work())
        assert (first.text, first.finish_reason, first.model) == (
            "The moon is round.",
            "stop",
            "claude-sonnet-4-5",
        )
        assert first.usage.output_tokens > 0
        assert second.text == "".join(said) == "It is grey."
        assert second.metadata["session_id"] == first.metadata["session_id"]

    def test_a_cancelled_run_is_ended_with_its_whole_process_group(self, tmp_path: Path) -> None:
        async def work() -> None:
            asked = asyncio.Event()
            loop = asyncio.get_running_loop()

            def answer(ask: Any) -> str:
                loop.call_soon_threadsafe(asked.set)
                return "too late"

            async with Simulator(answers=answer, latency=60) as simulator:
                runner = _Watched()
                endpoint = self.endpoint(simulator, tmp_path, runner=runner)
                task = asyncio.create_task(ask(endpoint, model="claude-sonnet-4-5", prompt="Hi"))
                await asked.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert runner.pid
                await wait_group_ended(runner.pid)

        run(work())

    def test_its_errors_are_typed(self, tmp_path: Path) -> None:
        async def work() -> tuple[Any, Any]:
            async with Simulator(models=["claude-opus-5"]) as simulator:
                endpoint = self.endpoint(simulator, tmp_path, retry_config=None)
                async with iModel(backend=endpoint) as model:
                    no_model = await model.invoke(prompt="Hi")
                    no_session = await model.invoke(
                        prompt="Hi", session_id="8f445b9c-625c-4b1f-a347-23cdf2c412cb"
                    )
                    return no_model.error, no_session.error

        no_model, no_session = run(work())
        assert isinstance(no_model, ResourceNotFoundError)
        assert no_model.status_code == 404
        assert isinstance(no_session, ResourceNotFoundError)
        assert "No conversation found" in str(no_session)
