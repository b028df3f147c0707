"""`ClaudeCodeEndpoint`: Claude Code, a command, as an endpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from callgate.backends.command import CommandBackend
from callgate.backends.config import EndpointConfig, ServiceEndpointConfig, make_config
from callgate.backends.endpoint import USUAL_RETRY, Endpoint, policies_from_dict
from callgate.errors import ConfigurationError
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.retry.config import RetryConfig
from callgate.providers.claude_code.dialect import ClaudeCode
from callgate.providers.claude_code.request import FIXED_VARIABLES, INHERITED_VARIABLES
from callgate.providers.hosts import find_host
from callgate.transport.http import Transport
from callgate.transport.keys import ENVIRONMENT, Secret, hide, hide_secrets
from callgate.transport.subprocess import CommandRunner, Runner

__all__ = ["ClaudeCodeEndpoint"]


class ClaudeCodeEndpoint(Endpoint):
    """Runs the command once for each call, without a shell, with the prompt on stdin and few environment
    variables.

    Args:
        command: The program, looked up on the PATH.
        args: Further arguments of every call, such as `["--permission-mode=plan"]`.
        cwd: Its working directory, which also determines its sessions; None: that of this process.
        env: Further environment variables; they override the inherited ones.
        api_key: A key, or the name of the variable that holds it; None: the command finds one (its login, or
            ANTHROPIC_API_KEY).
        base_url: The address of the API; None: the command's default.
        timeout: Timeout of one run in seconds; None: no limit.
        runner: Runs commands; None: on this machine.
        circuit_breaker: Used by the model around it.
        retry_config: Used by the model around it; None turns retry off.
        settings: Sent with every request: `model`, `max_turns`.

    Raises:
        ConfigurationError: the environment variable of the key is not set.

    Example::

        backend = ClaudeCodeEndpoint(model="sonnet", args=["--permission-mode=plan"])
        async with iModel(backend=backend) as model:
            first = await model.invoke(messages=[{"role": "user", "content": "What is this project?"}])
            session = first.response.metadata["session_id"]
            again = await model.invoke(prompt="And its licence?", session_id=session)
    """

    def __init__(
        self,
        *,
        command: str = "claude",
        args: Sequence[str] = (),
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        api_key: Secret | str | None = None,
        base_url: str | None = None,
        timeout: float | None = 600.0,
        runner: Runner | None = None,
        circuit_breaker: CircuitBreaker | Mapping[str, Any] | None = None,
        retry_config: RetryConfig | Mapping[str, Any] | None = USUAL_RETRY,
        **settings: Any,
    ) -> None:
        api_key, env = hide(api_key), hide_secrets(env or {})
        host = find_host("claude_code")
        self._command, self._args = command, list(args)
        self._cwd = None if cwd is None else os.fspath(cwd)
        self._own_env = env
        self._runner: Runner = CommandRunner() if runner is None else runner
        config = make_config(
            EndpointConfig,
            name=host.name,
            provider=host.provider,
            endpoint="",
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            kwargs=settings,
        )
        super().__init__(config, circuit_breaker=circuit_breaker, retry_config=retry_config, host=host)

    def _make_backend(
        self, config: EndpointConfig | ServiceEndpointConfig, transport: Transport | None
    ) -> CommandBackend:
        env = {name: ENVIRONMENT[name] for name in INHERITED_VARIABLES if name in ENVIRONMENT}
        env |= FIXED_VARIABLES
        key = config.read_api_key()
        if key is not None:
            env["ANTHROPIC_API_KEY"] = key
        if config.base_url is not None:
            env["ANTHROPIC_BASE_URL"] = config.base_url
        env |= self._own_env
        dialect = ClaudeCode(self._command, tuple(self._args))
        return CommandBackend(
            self.name, dialect, origin=f"command:{self._command}", env=env, cwd=self._cwd, runner=self._runner
        )

    def to_dict(self) -> dict[str, Any]:
        """The settings, ready for JSON, with the name of the key's variable instead of a key.

        Raises:
            ConfigurationError: a key or `env` was given: their values may be secret, and are required.
        """
        if self.config.api_key is not None or self._own_env:
            raise ConfigurationError(
                f"the endpoint {self.name!r} was given a raw key or env=, which are never written down; pass"
                " api_key= as the name of an environment variable",
                setting="api_key",
            )
        return {
            "kind": "command",
            "host": self.provider,
            "command": self._command,
            "args": self._args,
            "cwd": self._cwd,
            "api_key": self.config.api_key_env,
            "base_url": self.config.base_url,
            "timeout": self.config.timeout,
            "settings": self.defaults,
            **self._policies_to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClaudeCodeEndpoint:
        """An endpoint from what `to_dict` returned, with a closed breaker.

        Raises:
            ConfigurationError: (a ValueError) the environment variable of the key is not set.
        """
        names = ("command", "args", "cwd", "api_key", "base_url", "timeout")
        return cls(
            **{name: data[name] for name in names if name in data},
            **policies_from_dict(data),
            **data.get("settings", {}),
        )
