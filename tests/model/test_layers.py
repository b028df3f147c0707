"""Layers of the user's own: where they run, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import ConfigurationError, ServerError
from callgate.model.spread import Spread
from callgate.pipeline import LayerName, Service, UserLayer
from callgate.policies.cache.memory import MemoryCache
from callgate.response import Response
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import NO_JITTER, make_model

DOWN = ServerError("down", status_code=500)


def counting(seen: list[str], name: str) -> Any:
    def layer(call: Service) -> Service:
        async def counted(calling: Calling) -> Response:
            seen.append(name)
            return await call(calling)

        return counted

    return layer


@pytest.mark.parametrize(
    ("inside", "times"),
    [("observe", 2), ("deadline", 2), ("structured", 2), ("cache", 1), ("retry", 3), ("hedge", 3),
     ("limit", 3), ("breaker", 3), ("timeout", 3)],
)  # fmt: skip
def test_it_runs_as_often_as_its_place_says(inside: LayerName, times: int) -> None:
    seen: list[str] = []
    own = UserLayer("own", counting(seen, "own"), inside=inside)
    model, _ = make_model(
        DOWN, DOWN, "fine", retry=NO_JITTER, model={"layers": [own], "cache": MemoryCache()}
    )

    async def main() -> None:
        for _ in range(2):  # the second one is a hit
            assert (await model.ask("Hi")).text == "fine"

    run_virtual(main())
    assert len(seen) == times


def test_of_several_at_one_place_the_first_is_outermost() -> None:
    seen: list[str] = []
    layers = [UserLayer(name, counting(seen, name), inside="retry") for name in ("first", "second")]
    model, _ = make_model("fine", model={"layers": layers})
    run_virtual(model.ask("Hi"))
    assert seen == ["first", "second"]


def test_a_spread_has_layers_of_its_own_and_those_of_each_endpoint_inside_limit() -> None:
    seen: list[str] = []
    inner = [UserLayer("inner", counting(seen, "inner"), inside="limit")]
    outer = [UserLayer("outer", counting(seen, "outer"), inside="observe")]
    not_used = [UserLayer("not used", counting(seen, "not used"), inside="observe")]
    one, _ = make_model("fine", model={"layers": [*inner, *not_used]})

    async def main() -> None:
        async with Spread([one], layers=outer) as model:
            await model.ask("Hi")

    run_virtual(main())
    assert seen == ["outer", "inner"]


def test_what_is_no_layer_or_has_no_place_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="inside must be one of observe, deadline"):
        UserLayer("own", lambda call: call, inside="nowhere")  # type: ignore[arg-type]
    for wrong in ([lambda call: call], [UserLayer("a", lambda call: call, inside="cache")] * 2):
        with pytest.raises(ConfigurationError, match="with different names"):
            make_model("fine", model={"layers": wrong})
