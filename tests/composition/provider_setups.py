"""One setup per dialect: the provider's name, a model and credentials.

`PROVIDER_SETUPS` are the columns of the matrix (`test_provider_matrix.py`, docs/providers.md).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from callgate import iModel

__all__ = ["KEY", "PROVIDER_SETUPS", "ProviderSetup"]

KEY = "sk-matrix-0123456789"
_KEYED = {"api_key": KEY}
_AWS = {"access_key": "AKIDMATRIX", "secret_key": "secret-of-the-matrix", "region": "us-east-1"}
_GOOGLE = {"api_key": KEY, "project": "matrix", "location": "us-east5"}


@dataclass(frozen=True, slots=True)
class ProviderSetup:
    """One column of the matrix: a dialect, reached through a provider's name.

    Attributes:
        title: The column's head.
        provider, model: As given to `iModel`.
        versioned: Whether its base URL ends in `/v1`.
        settings: What lets it in.
        forced_tool: Whether a schema is asked for by a tool that must be called.
        retry_after_in_body: Whether a 429 carries the wait in its body.
        statuses: Statuses of errors that this provider says with another one.
        names_model: Whether an answer names its model.
        command: Whether it is a command, which has to be installed.
        not_tested: Rows of the matrix that do not apply, with the word that docs/providers.md shows instead.
    """

    title: str
    provider: str
    model: str
    versioned: bool = False
    settings: Mapping[str, Any] = field(default_factory=lambda: _KEYED)
    forced_tool: bool = False
    retry_after_in_body: bool = False
    statuses: Mapping[int, int] = field(default_factory=dict)
    names_model: bool = True
    command: bool = False
    not_tested: Mapping[str, str] = field(default_factory=dict)

    def base_url(self, root: str) -> str:
        return root + "/v1" if self.versioned else root

    def model_at(self, root: str, **settings: Any) -> iModel:
        """The model at a server; without retries by default."""
        if self.command:
            settings = {**_command_settings(), **settings}
        return iModel(
            provider=self.provider,
            base_url=self.base_url(root),
            model=self.model,
            **{"retry_config": None, **self.settings, **settings},
        )


# Where `npm install --no-save @anthropic-ai/claude-code` puts it.
_NPM = str(Path(__file__).parents[2] / "node_modules" / ".bin")


def _command_settings() -> dict[str, Any]:
    """Claude Code with a temporary home directory; skips the test when the command is not installed."""
    command = os.environ.get("CALLGATE_CLAUDE") or shutil.which("claude") or shutil.which("claude", path=_NPM)
    if command is None:
        pytest.skip("Claude Code is not installed: npm install -g @anthropic-ai/claude-code")
    home = _home().name
    variables = {"HOME": home, "ANTHROPIC_API_KEY": "dummy", "CLAUDE_CODE_MAX_RETRIES": "0"}
    return {"command": command, "args": ["--tools="], "cwd": home, "env": variables}


@cache
def _home() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="claude-home-")


_CLAUDE_AT_AWS = "anthropic.claude-sonnet-4-5-20250929-v1:0"

PROVIDER_SETUPS = (
    ProviderSetup("openai_chat", "openai", "gpt-4o-mini", versioned=True),
    ProviderSetup("openai_responses", "openai_responses", "gpt-5-mini", versioned=True),
    ProviderSetup("anthropic", "anthropic", "claude-sonnet-4-5"),
    ProviderSetup(
        "gemini", "gemini", "gemini-2.5-flash", retry_after_in_body=True, statuses={401: 400, 529: 503}
    ),
    ProviderSetup(
        "bedrock",
        "bedrock",
        _CLAUDE_AT_AWS,
        settings=_AWS,
        statuses={401: 403, 529: 503},
        names_model=False,
    ),
    ProviderSetup(
        "bedrock_invoke", "bedrock_invoke", _CLAUDE_AT_AWS, settings=_AWS, statuses={401: 403, 529: 503}
    ),
    ProviderSetup(
        "vertex (OpenAI)",
        "vertex",
        "meta/llama-4-maverick-17b-128e-instruct-maas",
        settings=_GOOGLE,
        retry_after_in_body=True,
        statuses={529: 503},
    ),
    ProviderSetup(
        "vertex (Gemini)",
        "vertex",
        "gemini-2.5-flash",
        settings=_GOOGLE,
        retry_after_in_body=True,
        statuses={529: 503},
    ),
    ProviderSetup(
        "vertex (Claude)", "vertex", "claude-sonnet-4-5@20250929", settings=_GOOGLE, forced_tool=True
    ),
    ProviderSetup(
        "claude_code",
        "claude_code",
        "claude-sonnet-4-5",
        settings={},
        command=True,
        not_tested={
            **dict.fromkeys(("tool call", "tool result", "parallel tools"), "its own"),
            "length stop": "an error",
            "Retry-After, each form": "its own",
            "error in mid-stream": "its own",
            **dict.fromkeys(("400", "401", "404", "429", "529", "every split of the bytes"), "✓ recorded"),
        },
    ),
)
