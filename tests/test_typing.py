"""What a user's own type checker sees: programs that work pass `mypy --strict`, and mistakes do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A line with "type: ignore" is one that has to be refused: an ignore that is not needed is an error too.
CONFIGURATIONS = """
from pydantic import SecretStr
from callgate import EndpointConfig, SdkTransportConfig, ServiceEndpointConfig

HOST = "https://api.example.com"
sdk = SdkTransportConfig(sdk_provider_name="openai")
ServiceEndpointConfig(name="chat", transport_type="http", base_url=HOST)
ServiceEndpointConfig(name="chat", transport_type="http", base_url=HOST, api_key="OPENAI_API_KEY")
ServiceEndpointConfig(name="chat", transport_type="sdk", sdk_config=sdk, api_key=SecretStr("key"))
ServiceEndpointConfig(name="chat", transport_type="sdk", sdk_config=sdk, api_key=7)  # type: ignore[arg-type]
EndpointConfig(name="chat", provider="openai", endpoint="chat/completions", api_key="OPENAI_API_KEY")
EndpointConfig(name="chat", provider="openai", endpoint="chat/completions", model="gpt-4o-mini", top_p=0.5)
EndpointConfig(name="chat", provider="openai", endpoint="x", api_key=7)  # type: ignore[arg-type]
EndpointConfig(name="chat", provider="openai")  # type: ignore[call-arg]
key: str | None = EndpointConfig(name="chat", provider="openai", endpoint="x").read_api_key()
"""


PROVIDERS = """
from typing import Any
from callgate import Calling, Engine, providers

class EchoProvider(providers.AbstractProvider):
    async def call(self, calling: Calling, /) -> Any:
        return "again"

class Incomplete(providers.AbstractProvider):
    pass

Engine(EchoProvider(), None)
Incomplete()  # type: ignore[abstract]
Engine(providers.OpenAICompatibleApiProvider("key", "https://api.example.com/v1", model_id="m"))
providers.NoSuchProvider  # type: ignore[attr-defined]
"""

RUNS = """
import asyncio
from pathlib import Path
from pydantic import BaseModel
import callgate

class Label(BaseModel):
    label: str

results = callgate.run(["a", {"prompt": "b"}], "openai/m", "out.jsonl", schema=Label, budget=5.0, top_p=0.5)
labels: list[Label | None] = results.parsed
first: Label | None = results[0].parsed
texts: list[str | None] = callgate.run(Path("in.csv"), ["openai/a", "groq/b"], template="{word}").texts
wrong: list[int] = results.parsed  # type: ignore[assignment]
callgate.run(7, "openai/m")  # type: ignore[arg-type]
callgate.run(["a"], "openai/m", rpm="fast")  # type: ignore[arg-type]
callgate.run(["a"], "openai/m", on_change="ask")  # type: ignore[arg-type]
plain: callgate.Results = callgate.run(["a"], "openai/m", schema={"type": "object"}, retries=1)

async def main() -> None:
    label = (await callgate.arun(["a"], "openai/m", schema=Label)).parsed[0]
    if label is not None:
        print(label.label)

asyncio.run(main())
"""

CALLS = """
from typing import Any, assert_type
from pydantic import BaseModel
from callgate import Calling, Executor, OAIChatEndpoint, Response, Spread, iModel

class Size(BaseModel):
    km: float

HELLO = [{"role": "user", "content": "How big is the moon?"}]
model = iModel("openai/gpt-4o-mini", api_key="K", timeout=30, retry_config=None, temperature=0.5, top_k=3)
iModel(Executor(), {"base_url": "https://api.example.com", "api_key": "K"})
iModel(OAIChatEndpoint(model="m", api_key="K"), Executor())
iModel(provider="openai", model="gpt-4o-mini", circuit_breaker={"failure_threshold": 5}, fallbacks=[model])
iModel("openai/gpt-4o-mini", timeout="soon")  # type: ignore[call-overload]

async def main() -> None:
    assert_type(await model.ask("How big?", temperature=0.5, stop=["."], seed=7, top_k=3), Response[Any])
    assert_type((await model.ask("How big?", response_model=Size)).parsed, Size)
    calling = await model.invoke(messages=HELLO, response_model=Size, tools=[], tool_choice="auto")
    assert_type(calling, Calling[Size])
    assert_type(calling.response.parsed.km, float)
    assert_type((await calling).response.parsed, Size)
    again: Calling = await model.invoke(calling=await model.create_calling(prompt="Hello!"), timeout=5)
    city: str = (await model.invoke(city="Oslo")).response.text
    await model.ask("How big?", temperature="hot")  # type: ignore[arg-type]
    await model.ask("How big?", response_model=int)  # type: ignore[type-var]
    assert_type((await model.submit(messages=HELLO, response_model=Size)).response.parsed, Size)
    assert_type(await model.create_calling(prompt="Hello!", response_model=Size), Calling[Size])
    await model.ask(messages=HELLO, response_model=Size, timeout=5.0)

assert_type(model.ask_sync("How big?", response_model=Size).parsed, Size)
assert_type(Spread([model, model]).invoke_sync(messages=HELLO, response_model=Size).response.parsed, Size)
model.ask_sync("How big?", max_tokens="many")  # type: ignore[arg-type]

def text_of(response: Response) -> str:
    return response.text
"""


def test_programs_that_work_pass_and_mistakes_do_not(tmp_path: Path) -> None:
    # With the project's own configuration, so that the cache of `make types` serves this run too.
    programs = {
        "configurations.py": CONFIGURATIONS,
        "providers.py": PROVIDERS,
        "runs.py": RUNS,
        "calls.py": CALLS,
    }
    check(programs, ROOT / "pyproject.toml", tmp_path)


@pytest.mark.slow
def test_configurations_pass_under_pydantics_plugin(tmp_path: Path) -> None:
    config = tmp_path / "mypy.ini"
    plugin = "plugins = pydantic.mypy\n[pydantic-mypy]\ninit_typed = true\n"
    config.write_text(
        f"[mypy]\nstrict = true\nfollow_imports = silent\ncache_dir = {ROOT}/.mypy_cache/pydantic\n{plugin}"
    )
    check({"configurations.py": CONFIGURATIONS}, config, tmp_path)


def check(programs: dict[str, str], config: Path, folder: Path) -> None:
    for name, text in programs.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "mypy", "--config-file", str(config)]
    checked = subprocess.run(
        [*command, *(str(folder / name) for name in programs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
