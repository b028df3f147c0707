"""`EmbeddedEndpoint`: a model in this process as an endpoint."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from callgate.backends.address import Address
from callgate.backends.config import EndpointConfig, ServiceEndpointConfig
from callgate.backends.embedded import EmbeddedServer
from callgate.backends.endpoint import Endpoint
from callgate.backends.service import BackendInfo
from callgate.transport.auth import StaticAuth

__all__ = ["EmbeddedEndpoint"]


class EmbeddedEndpoint(Endpoint):
    """An endpoint that starts the embedded model when it is created, and closes it with itself.

    Args:
        config: Its `model` is "smollm2" (the default) or the path of a `.gguf` file.
        options: As for `Endpoint`.

    Raises:
        ConfigurationError: a package or the file is missing; the message says how to install it.

    Example::

        async with iModel(provider="local", model="smollm2") as model:
            calling = await model.invoke(messages=[{"role": "user", "content": "Name a planet."}])
    """

    def __init__(self, config: EndpointConfig, **options: Any) -> None:
        model = {**config.kwargs, **options}.get("model", "smollm2")
        # Loading blocks, also in a thread, because llama.cpp holds the GIL.
        self._server = EmbeddedServer(model).start()
        self._origin = f"embedded/{model}"
        super().__init__(config, **options)

    @property
    def info(self) -> BackendInfo:
        """Its facts. Cache keys have the model's name instead of the port, which differs with each start."""
        return replace(super().info, cache_origin=self._origin)

    def _find_address(self, config: EndpointConfig | ServiceEndpointConfig) -> Address:
        return Address(self._server.base_url, StaticAuth("none"), None)

    async def close(self) -> None:
        """Close the client, then the model. Idempotent."""
        await super().close()
        await asyncio.to_thread(self._server.close)
