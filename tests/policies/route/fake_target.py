"""A target of a pool, made by hand."""

from __future__ import annotations

from callgate.call.calling import Calling
from callgate.pipeline import Service
from callgate.policies.limit.gate import Gate
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.limiter import Limiter
from callgate.response import Response
from tests.policies.scripted_service import Scripted, attempted


class FakeTarget:
    """Sends attempts to a scripted service; counts them by its `service`."""

    def __init__(self, name: str, gate: Gate | None = None, service: Service | None = None) -> None:
        self.name = name
        self.gate: Gate = Limiter() if gate is None else gate
        self.service = Scripted(f"from {name}") if service is None else service
        self.turned: list[Calling] = []

    def turn(self, calling: Calling) -> None:
        self.turned.append(calling)

    def tokens(self, calling: Calling) -> float:
        return calling.num_api_tokens_needed

    async def send(self, calling: Calling, lease: Lease) -> Response:
        try:
            return await attempted(self.service)(calling)
        finally:
            lease.release()
