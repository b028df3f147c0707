"""An endpoint on a model inside this process."""

from __future__ import annotations

import asyncio
from typing import Any

from callgate.backends.address import Address
from callgate.backends.config import EndpointConfig, ServiceEndpointConfig
from callgate.backends.embedded import EmbeddedServer
from callgate.backends.endpoint import Endpoint
from callgate.transport.auth import StaticAuth

__all__ = ["EmbeddedEndpoint"]


class EmbeddedEndpoint(Endpoint):
    """Starts the embedded model with itself and closes it with itself.

    Args:
        config: Its `model` is "smollm2" (the default) or the path of a `.gguf` file.
        options: As for `Endpoint`.

    Raises:
        ConfigurationError: when a package or the file is missing; it says how to install them.

    Example::

        async with iModel(provider="local", model="smollm2") as model:
            calling = await model.invoke(messages=[{"role": "user", "content": "Name a planet."}])
    """

    def __init__(self, config: EndpointConfig, **options: Any) -> None:
        model = {**config.kwargs, **options}.get("model", "smollm2")
        # It blocks while it loads, in a thread too (llama.cpp holds the global lock), so it may as well here.
        self._server = EmbeddedServer(model).start()
        super().__init__(config, **options)
        # Its port differs with every start; what it answers does not.
        self.cache_origin = f"embedded/{model}"

    def _find_address(self, config: EndpointConfig | ServiceEndpointConfig) -> Address:
        return Address(self._server.base_url, StaticAuth("none"), None)

    async def close(self) -> None:
        """Close the client, then the model. Closing twice changes nothing."""
        await super().close()
        await asyncio.to_thread(self._server.close)
