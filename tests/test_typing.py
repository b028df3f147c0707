"""What a user's own type checker sees: programs that work pass `mypy --strict`, and mistakes do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("plugins", ["", "plugins = pydantic.mypy\n[pydantic-mypy]\ninit_typed = true\n"])
def test_a_key_may_be_a_text_and_a_request_may_have_defaults_of_any_name(
    plugins: str, tmp_path: Path
) -> None:
    check(CONFIGURATIONS, plugins, tmp_path)


def test_providers_are_known_by_their_types(tmp_path: Path) -> None:
    check(PROVIDERS, "", tmp_path)


def check(text: str, plugins: str, tmp_path: Path) -> None:
    program, config = tmp_path / "program.py", tmp_path / "mypy.ini"
    program.write_text(text)
    config.write_text(f"[mypy]\nstrict = true\nfollow_imports = silent\n{plugins}")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(tmp_path / "c")]
    checked = subprocess.run([*command, str(program)], capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout + checked.stderr
