"""The order of the layers: stated once, and kept."""

from __future__ import annotations

from dataclasses import fields

from callgate.call.calling import Calling
from callgate.pipeline import Layer, Layers, Service, pipeline
from callgate.response import Response
from callgate.testing.clock import run_virtual

PROMISED = [
    "observe",
    "deadline",
    "structured",
    "cache",
    "retry",
    "hedge",
    "limit",
    "breaker",
    "timeout",
]


def recording(name: str, passed: list[str]) -> Layer:
    def wrap(call: Service) -> Service:
        async def noted(calling: Calling) -> Response:
            passed.append(name)
            return await call(calling)

        return noted

    return wrap


async def backend(calling: Calling) -> Response:
    return Response(text="answered")


def test_a_call_passes_the_layers_in_the_promised_order_each_once() -> None:
    passed: list[str] = []
    layers = Layers(**{name: recording(name, passed) for name in reversed(PROMISED)})

    async def main() -> None:
        assert (await pipeline(backend, layers)(Calling())).text == "answered"

    run_virtual(main())
    assert passed == PROMISED


def test_the_fields_stand_in_the_order_of_the_layers() -> None:
    assert [field.name for field in fields(Layers)] == PROMISED


def test_a_layer_that_is_none_is_left_out() -> None:
    passed: list[str] = []
    layers = Layers(observe=recording("observe", passed), limit=recording("limit", passed))

    async def main() -> None:
        await pipeline(backend, layers)(Calling())

    run_virtual(main())
    assert passed == ["observe", "limit"]


def test_without_layers_the_pipeline_is_the_backend_itself() -> None:
    assert pipeline(backend, Layers()) is backend
