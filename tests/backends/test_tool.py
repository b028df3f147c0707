"""A Python function as a backend: its schema, its arguments, its result."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import pytest
from pydantic import BaseModel, Field

from callgate.backends.service import ServiceBackend
from callgate.backends.tool import Tool
from callgate.call.calling import Calling
from callgate.errors import ConfigurationError, RateLimitError, ToolError
from tests.backends.sample_tool import Place, Units, call, forecast, parameters


class TestSchemasGivenByHand:
    def test_with_the_outer_function(self) -> None:
        given = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
        tool = Tool(forecast, tool_schema=given)
        assert tool.name == "weather"
        assert tool.tool_schema["function"]["parameters"] == {"type": "object"}
        assert tool.tool_schema["function"]["description"].startswith("Tell the weather")

    def test_without_it_or_only_the_parameters(self) -> None:
        only = {"type": "object", "properties": {"city": {"type": "string"}}}
        for given in ({"name": "forecast", "parameters": only}, only):
            schema = Tool(forecast, tool_schema=given).tool_schema
            assert schema["function"]["parameters"] == only
            assert schema["function"]["name"] == "forecast"

    def test_name_and_description_from_the_config(self) -> None:
        tool = Tool(forecast, config={"name": "weather", "description": "Ask it.", "tags": {"sky"}})
        assert tool.tool_schema["function"]["name"] == tool.name == "weather"
        assert tool.tool_schema["function"]["description"] == "Ask it."
        assert tool.tags == {"sky"}


class WeatherRequest(BaseModel):
    location: str = Field(..., description="City name")
    units: str = Field("celsius", description="Temperature units")


class TestRequestOptions:
    def test_the_document_s_example(self) -> None:
        def get_weather(location: str, units: str = "celsius") -> dict[str, Any]:
            return {"temp": 22, "location": location, "units": units}

        tool = Tool(func_callable=get_weather, config={"request_options": WeatherRequest})
        assert call(tool, location="Oslo") == {"temp": 22, "location": "Oslo", "units": "celsius"}
        assert parameters(tool)["properties"]["location"]["description"] == "City name"
        with pytest.raises(ToolError, match="location: Field required"):
            call(tool, units="kelvin")

    def test_a_function_may_take_the_whole_model(self) -> None:
        def get_weather(request: WeatherRequest) -> str:
            return f"{request.location} in {request.units}"

        tool = Tool(get_weather, config={"request_options": WeatherRequest})
        assert call(tool, location="Oslo") == "Oslo in celsius"

    @pytest.mark.parametrize(
        ("function", "said"),
        [
            (lambda location: None, "takes no 'units'"),
            (lambda location, units, when: None, "'when' is not in it"),
        ],
    )
    def test_what_does_not_fit_the_function_is_refused_when_made(self, function: Any, said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            Tool(function, config={"request_options": WeatherRequest})

    def test_keywords_take_every_field_and_what_a_model_allows_beyond(self) -> None:
        class Open(WeatherRequest, extra="allow"):
            pass

        tool = Tool(lambda **given: given, config={"request_options": Open})
        assert call(tool, location="Oslo", when="now") == {
            "location": "Oslo",
            "units": "celsius",
            "when": "now",
        }

    def test_only_a_pydantic_model_will_do(self) -> None:
        with pytest.raises(ConfigurationError, match="pydantic model"):
            Tool(forecast, config={"request_options": dict})


class TestCalling:
    def test_arguments_are_converted_to_their_types(self) -> None:
        got = call(Tool(forecast), city="Oslo", days="3", near={"city": "Bergen"}, scale="kelvin")
        assert got["days"] == 3
        assert got["near"] == Place(city="Bergen")
        assert got["scale"] is Units.KELVIN

    def test_what_does_not_fit_says_which_and_why(self) -> None:
        with pytest.raises(ToolError, match=r"'forecast' do not fit: city: Field required; days: Input"):
            call(Tool(forecast), days="soon")
        with pytest.raises(ToolError, match="hours"):
            call(Tool(forecast), city="Oslo", hours=3)

    def test_arguments_that_are_no_object(self) -> None:
        with pytest.raises(ToolError, match="an object, not list"):
            asyncio.run(Tool(forecast).call(Calling(["Oslo"])))

    def test_no_arguments_are_an_empty_object(self) -> None:
        assert asyncio.run(Tool(lambda: 1).call(Calling())).data == 1

    def test_a_sync_function_runs_in_a_thread(self) -> None:
        assert call(Tool(lambda: threading.current_thread())) is not threading.main_thread()

    def test_an_async_one_on_the_loop(self) -> None:
        async def where() -> threading.Thread:
            await asyncio.sleep(0)
            return threading.current_thread()

        assert call(Tool(where)) is threading.main_thread()

    def test_a_coroutine_that_a_sync_function_returns_is_awaited(self) -> None:
        async def inner(x: int) -> int:
            return x + 1

        assert call(Tool(lambda x: inner(x)), x=1) == 2

    def test_methods_partials_objects_and_classes(self) -> None:
        class Counter:
            def __init__(self, start: int = 10) -> None:
                self.start = start

            def add(self, n: int) -> int:
                return self.start + n

            async def __call__(self, n: int) -> int:
                return self.start * n

        def power(base: int, exponent: int) -> int:
            return base**exponent

        assert call(Tool(Counter().add), n="2") == 12
        assert call(Tool(Counter()), n="2") == 20
        assert call(Tool(Counter), start="7").start == 7
        square = Tool(functools.partial(power, exponent=2))
        assert square.name == "power"
        assert call(square, base="5") == 25

    def test_positional_only_and_keyword_parameters(self) -> None:
        def mixed(a: int, /, b: int, **rest: int) -> Any:
            return a, b, rest

        assert call(Tool(mixed), a=1, b=2, c=3) == (1, 2, {"c": 3})

    def test_text_is_the_response_s_text_and_anything_else_its_data(self) -> None:
        response = asyncio.run(Tool(lambda: "sunny").call(Calling({})))
        assert (response.text, response.data) == ("sunny", "sunny")
        response = asyncio.run(Tool(lambda: {"a": 1}).call(Calling({})))
        assert (response.text, response.data) == ("", {"a": 1})

    def test_none_stays_none(self) -> None:
        assert call(Tool(lambda: None)) is None

    def test_an_exception_is_the_cause_of_the_error(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError("no")

        with pytest.raises(ToolError, match="'fail' raised ZeroDivisionError: no") as caught:
            call(Tool(fail))
        assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def test_our_own_errors_go_through_so_that_retry_can_decide(self) -> None:
        def limited() -> None:
            raise RateLimitError("slowly", retry_after=1.0)

        with pytest.raises(RateLimitError):
            call(Tool(limited))

    def test_cancelling_an_async_function_reaches_it(self) -> None:
        ended = []

        async def slow() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        async def main() -> None:
            task = asyncio.create_task(Tool(slow).call(Calling({})))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert ended


class TestWhatIsRefused:
    def test_star_args(self) -> None:
        with pytest.raises(ConfigurationError, match=r"takes \*values, which has no names"):
            Tool(lambda *values: values)

    def test_generators(self) -> None:
        def count() -> Any:
            yield 1

        async def acount() -> Any:
            yield 1

        for function in (count, acount):
            with pytest.raises(ConfigurationError, match="yields"):
                Tool(function)

    def test_a_type_that_json_cannot_hold(self) -> None:
        def lock(it: threading.Event) -> None: ...

        with pytest.raises(ConfigurationError, match=r"'lock' cannot be represented in JSON.*Event"):
            Tool(lock)

    def test_an_annotation_that_means_nothing(self) -> None:
        def broken(it: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

        with pytest.raises(ConfigurationError, match="Nowhere"):
            Tool(broken)

    def test_something_that_is_no_function_or_has_no_signature(self) -> None:
        with pytest.raises(ConfigurationError, match="not int"):
            Tool(3)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="cannot be read"):
            Tool(iter)

    def test_an_unknown_setting(self) -> None:
        with pytest.raises(ConfigurationError, match="unknown setting of a tool: request_option"):
            Tool(forecast, config={"request_option": WeatherRequest})


def test_it_is_a_backend_that_cannot_be_written_down() -> None:
    tool = Tool(forecast)
    assert isinstance(tool, ServiceBackend)
    assert repr(tool) == "<Tool 'forecast'>"
    asyncio.run(tool.close())
    with pytest.raises(NotImplementedError, match="forecast"):
        tool.to_dict()
