"""`ClaudeCodeEndpoint`: Claude Code, the command, as a backend like any other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from callgate.backends.service import BackendInfo
from callgate.call.calling import Calling
from callgate.errors import APIClientError, ConfigurationError, ResponseError
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.retry.config import RetryConfig
from callgate.providers.claude_code.dialect import ClaudeCode
from callgate.providers.claude_code.request import FIXED_VARIABLES, INHERITED_VARIABLES
from callgate.providers.hosts import find_host
from callgate.response import Response
from callgate.transport.keys import Secret, key_variable, read_key
from callgate.transport.redact import redact_error, secrets_in
from callgate.transport.subprocess import CommandRequest, CommandRunner, Runner

__all__ = ["ClaudeCodeEndpoint"]

_USUAL_RETRY = RetryConfig()


class ClaudeCodeEndpoint:
    """Runs the command once a call: no shell, the prompt on stdin, and a small environment of its own.

    Args:
        command: The program; looked up on the PATH.
        args: Further arguments for every call, such as `["--permission-mode=plan"]`.
        cwd: The directory that it works in, and where it finds its sessions; None: ours.
        env: Further variables for it; they go before what it is given anyway.
        api_key: A key, or the name of the variable that holds it; None: whatever it finds by itself (its
            login, or ANTHROPIC_API_KEY).
        base_url: Where it sends its requests; None: its own way.
        timeout: Seconds that one run may take.
        runner: What runs commands; None: this machine.
        circuit_breaker: Used by the model around it.
        retry_config: Used by the model around it; None turns retry off.
        settings: Sent with every request: `model`, `max_turns`.

    Raises:
        ConfigurationError: when the variable of the key is not set.

    Example::

        backend = ClaudeCodeEndpoint(model="sonnet", args=["--permission-mode=plan"])
        async with iModel(backend=backend) as model:
            first = await model.invoke(messages=[{"role": "user", "content": "What is this project?"}])
            session = first.response.metadata["session_id"]
            again = await model.invoke(prompt="And its licence?", session_id=session)
    """

    concurrency = 4
    """Runs at once, unless the user says otherwise: each is a process of a few hundred megabytes."""

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
        circuit_breaker: CircuitBreaker | None = None,
        retry_config: RetryConfig | None = _USUAL_RETRY,
        **settings: Any,
    ) -> None:
        self.host = find_host("claude_code")
        self.name = self.host.name
        self.tags = frozenset({"llm", self.host.provider})
        self.dialect = ClaudeCode(command, tuple(args))
        self.timeout = timeout
        self.circuit_breaker = circuit_breaker
        self.retry_config = retry_config
        self.defaults: dict[str, Any] = settings
        self.cache_origin = f"command:{command}"
        self.base_url = base_url
        self.key_variable = key_variable(api_key)
        self._cwd = None if cwd is None else os.fspath(cwd)
        self._settings = {"command": command, "args": list(args), "cwd": self._cwd}
        self._own_env = dict(env or {})
        self._env = self._environment(api_key, os.environ)
        self._has_raw_key = api_key is not None and self.key_variable is None
        self._runner: Runner = CommandRunner() if runner is None else runner
        self._closed = False

    @property
    def info(self) -> BackendInfo:
        """Its facts, read when a model is put together around it."""
        return BackendInfo(
            name=self.name,
            tags=self.tags,
            host=self.host,
            dialect=self.dialect,
            defaults=self.defaults,
            timeout=self.timeout,
            retry_config=self.retry_config,
            circuit_breaker=self.circuit_breaker,
            concurrency=self.concurrency,
            key_variable=self.key_variable,
            cache_origin=self.cache_origin,
        )

    async def call(self, calling: Calling) -> Response:
        """Run the command once, and end it with the call.

        Raises:
            APIClientError: what went wrong, typed.
            ConfigurationError: when the command is not installed; it says how to install it.
            RuntimeError: when the endpoint is closed.
        """
        if self._closed:
            raise RuntimeError(f"the endpoint {self.name!r} is closed")
        command = calling.encoded(self)
        if command is None:
            command = self._command(calling)
            calling.keep_encoded(self, command)
        calling.note_request(self.cache_origin)
        try:
            return await self._run(command, calling)
        except APIClientError as error:
            # The provider may quote the key, and the command passes on what it says.
            redact_error(error, secrets_in(self._env))
            raise

    async def _run(self, command: CommandRequest, calling: Calling) -> Response:
        decoder = self.dialect.stream_decoder({})
        async with self._runner.run(command) as output:
            async for piece in output:
                for delta in decoder.feed(piece):
                    await calling.emit(delta)
            try:
                return decoder.finish()
            except ResponseError:
                if not output.returncode:
                    raise
                raise self.dialect.error(output.returncode, output.stderr.encode(), {}) from None

    async def close(self) -> None:
        """Take no more calls. Closing twice changes nothing."""
        self._closed = True

    def to_dict(self) -> dict[str, Any]:
        """What it is, ready for JSON: the name of the key's variable, never a key.

        Raises:
            ConfigurationError: when it was given a raw key or variables of its own: what they hold may be
                secret, and without them it would not be the same.
        """
        if self._has_raw_key or self._own_env:
            raise ConfigurationError(
                f"the endpoint {self.name!r} was given a raw key or env=, which are never written down; pass"
                " api_key= as the name of an environment variable"
            )
        return {
            "kind": "command",
            "host": self.host.provider,
            **self._settings,
            "api_key": self.key_variable,
            "base_url": self.base_url,
            "timeout": self.timeout,
            "settings": self.defaults,
            "retry_config": None if self.retry_config is None else self.retry_config.to_dict(),
            "circuit_breaker": None if self.circuit_breaker is None else self.circuit_breaker.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClaudeCodeEndpoint:
        """An endpoint as its `to_dict` wrote it, with a closed breaker.

        Raises:
            ConfigurationError: (a ValueError) when the variable of its key is not set, naming it.
        """
        retry, breaker = data.get("retry_config"), data.get("circuit_breaker")
        names = ("command", "args", "cwd", "api_key", "base_url", "timeout")
        return cls(
            **{name: data[name] for name in names if name in data},
            retry_config=None if retry is None else RetryConfig.from_dict(retry),
            circuit_breaker=None if breaker is None else CircuitBreaker.from_dict(breaker),
            **data.get("settings", {}),
        )

    def _command(self, calling: Calling) -> CommandRequest:
        command = self.dialect.encode(calling.payload, stream=calling.sink is not None)
        return replace(command, env={**self._env, **command.env}, cwd=self._cwd)

    def _environment(self, api_key: Secret | str | None, environ: Mapping[str, str]) -> dict[str, str]:
        env = {name: environ[name] for name in INHERITED_VARIABLES if name in environ}
        env |= FIXED_VARIABLES
        key = read_key(api_key, environ, what=f"the endpoint {self.name!r}")
        if key is not None:
            env["ANTHROPIC_API_KEY"] = key
        if self.base_url is not None:
            env["ANTHROPIC_BASE_URL"] = self.base_url
        return env | self._own_env

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<ClaudeCodeEndpoint {self._settings['command']!r}{state}>"
