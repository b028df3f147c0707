"""The backend of an endpoint that is a command on this machine. One run is one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from callgate.backends.decoding import StreamReader
from callgate.backends.request_check import check_request
from callgate.call.calling import Calling
from callgate.errors import APIClientError, ResponseError
from callgate.providers.canonical.billing import CostBound, UnboundedCostError
from callgate.providers.claude_code.dialect import ClaudeCode
from callgate.response import Response
from callgate.transport.keys import hide_secrets
from callgate.transport.redact import redact_error, secrets_in
from callgate.transport.subprocess import CommandRequest, Runner

__all__ = ["CommandBackend"]


class CommandBackend:
    """Encodes a call as a command, runs it, and decodes its output.

    Args:
        name: The endpoint's name, for messages.
        dialect: Encodes requests and decodes the output.
        origin: The name of the command in cache keys and logs.
        env: The whole environment of the command.
        cwd: The working directory of the command; None: that of this process.
        runner: Runs commands.
    """

    base_url: str | None = None
    headers: dict[str, str] = {}  # noqa: RUF012  a command has none
    cache_facts: Mapping[str, Any] = {}
    completion: Mapping[str, str] = {}
    concurrency = 4
    """Concurrent runs if the user sets no limit: each is a process of a few hundred megabytes."""

    def __init__(
        self,
        name: str,
        dialect: ClaudeCode,
        *,
        origin: str,
        env: Mapping[str, str],
        cwd: str | None,
        runner: Runner,
    ) -> None:
        self.dialect = dialect
        self.cache_origin = origin
        self._name = name
        self._env = hide_secrets(env)
        self._cwd = cwd
        self.client = runner
        self._closed = False

    async def call(self, calling: Calling) -> Response:
        """Run the command once; it ends with the call.

        Raises:
            APIClientError: the call failed, or the request cannot be encoded.
            ConfigurationError: the command is not installed; the message says how to install it.
            RuntimeError: the backend is closed.
        """
        if self._closed:
            raise RuntimeError(f"the endpoint {self._name!r} is closed")
        command: CommandRequest | None = calling.encoded(self)
        if command is None:
            check_request(calling.payload)
            command = self.dialect.encode(calling.payload, stream=calling.sink is not None)
            command = replace(command, env={**self._env, **command.env}, cwd=self._cwd)
        calling.note_request(self.cache_origin, encoder=self, wire=command)
        try:
            return await self._run(command, calling)
        except APIClientError as error:
            # The command passes on the provider's message, which may quote the key.
            redact_error(error, secrets_in(self._env))
            raise

    def bound(self, calling: Calling) -> CostBound:
        """Not supported: nothing bounds the cost of a run.

        Raises:
            UnboundedCostError: always.
        """
        raise UnboundedCostError("a run of Claude Code, which makes requests of its own,")

    async def _run(self, command: CommandRequest, calling: Calling) -> Response:
        reader = StreamReader(calling, self.dialect.stream_decoder({}))
        async with self.client.run(command) as output:
            async for piece in output:
                await reader.feed(piece)
            try:
                return await reader.finish()
            except ResponseError:
                if not output.returncode:
                    raise
                raise self.dialect.error(output.returncode, output.stderr.encode(), {}) from None

    async def close(self) -> None:
        """Accept no more calls. Idempotent."""
        self._closed = True
