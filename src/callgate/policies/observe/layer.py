"""The outermost layer: ends the calling, once, and runs the hooks.

Hooks only watch: the caller gets the same response. Only a hook that runs *before* the call may stop it, by
raising.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from callgate.call.calling import Calling
from callgate.pipeline import Layer, Service
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from callgate.response import Response

__all__ = ["observe_layer"]


def observe_layer(clock: Callable[[], float], hooks: HookRegistry | None = None) -> Layer:
    """Complete or fail each calling exactly once, and run the hooks around it.

    Args:
        clock: The loop's clock, in seconds.
        hooks: Hooks to run; None for none.
    """

    def wrap(call: Service) -> Service:
        async def observed(calling: Calling) -> Response:
            try:
                response = await call(calling)
            except BaseException as error:
                calling.fail(error, clock())
                raise
            calling.complete(response, clock())
            return response

        if hooks is None:
            return observed

        async def hooked(calling: Calling) -> Response:
            try:
                await hooks.run(HookPhase.PreInvocation, calling)
                response = await call(calling)
            except BaseException as error:
                calling.fail(error, clock())
                # A hook may await: after a cancellation that is allowed once more, to close a span.
                if isinstance(error, Exception | asyncio.CancelledError):
                    await hooks.run(HookPhase.ErrorHandling, calling)
                raise
            calling.complete(response, clock())
            await hooks.run(HookPhase.PostInvocation, calling)
            return response

        return hooked

    return wrap
