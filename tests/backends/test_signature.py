"""A function's signature as a JSON schema, and its name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from callgate.backends.tool import Tool
from tests.backends.sample_tool import call, forecast, parameters


class TestTheSchemaReadFromASignature:
    def test_it_has_the_function_format(self) -> None:
        schema = Tool(forecast).tool_schema
        assert schema["type"] == "function"
        assert schema["function"]["name"] == "forecast"
        assert schema["function"]["description"] == "Tell the weather of the coming days."

    def test_types_defaults_and_choices(self) -> None:
        schema = parameters(Tool(forecast))
        assert schema["required"] == ["city"]
        assert schema["additionalProperties"] is False
        properties = schema["properties"]
        assert properties["days"] == {"default": 1, "type": "integer", "description": "How many days."}
        assert properties["units"]["enum"] == ["metric", "imperial"]
        assert properties["near"]["default"] is None
        assert schema["$defs"]["Units"]["enum"] == ["celsius", "kelvin"]

    def test_descriptions_come_from_the_docstring(self) -> None:
        city = parameters(Tool(forecast))["properties"]["city"]
        assert city == {"type": "string", "description": "The city, by the name its people give it."}

    def test_of_numpy_and_sphinx_docstrings_too(self) -> None:
        def numpy(a: int, b: int) -> None:
            """Add.

            Parameters
            ----------
            a : int
                The first.
            b
                The second.

            Returns
            -------
            None
                a: no parameter
            """

        def sphinx(a: int, b: int) -> None:
            """Add.

            :param a: The first.
            :param int b: The second,
                in two lines.
            """

        for function, second in ((numpy, "The second."), (sphinx, "The second, in two lines.")):
            properties = parameters(Tool(function))["properties"]
            assert [properties[name].get("description") for name in "ab"] == ["The first.", second]

    def test_annotated_descriptions_and_bounds_win(self) -> None:
        def search(
            query: Annotated[str, "What to look for"],
            limit: Annotated[int, Field(description="How many", ge=1, le=50)] = 10,
            page: int = Field(1, description="Which page"),
        ) -> None:
            """Search.

            Args:
                limit: not this text
            """

        properties = parameters(Tool(search))["properties"]
        assert properties["query"]["description"] == "What to look for"
        assert properties["limit"]["description"] == "How many"
        assert properties["limit"]["maximum"] == 50
        assert properties["page"] == {"default": 1, "description": "Which page", "type": "integer"}

    def test_unannotated_parameters_take_anything(self) -> None:
        tool = Tool(lambda thing: thing)
        assert parameters(tool)["properties"] == {"thing": {}}
        assert call(tool, thing=[1, {"a": None}]) == [1, {"a": None}]

    def test_no_parameters_at_all(self) -> None:
        tool = Tool(lambda: 42)
        assert parameters(tool) == {"type": "object", "properties": {}, "additionalProperties": False}
        assert call(tool) == 42

    def test_names_that_pydantic_keeps_for_itself(self) -> None:
        def odd(model_config: str, copy: int, _hidden: int = 3, p0: str = "first", p1: str = "second") -> Any:
            return model_config, copy, _hidden, p0, p1

        tool = Tool(odd)
        assert list(parameters(tool)["properties"]) == ["model_config", "copy", "_hidden", "p0", "p1"]
        assert call(tool, model_config="a", copy=1, p0="x") == ("a", 1, 3, "x", "second")

    def test_a_default_that_json_cannot_hold_is_left_out_and_still_used(self) -> None:
        nothing = object()

        def look(what: str, default: Any = nothing) -> Any:
            return default

        assert parameters(Tool(look))["properties"]["default"] == {}
        assert call(Tool(look), what="x") is nothing


class TestNames:
    def test_a_lambda_is_named_after_its_line(self) -> None:
        function = lambda: None  # noqa: E731
        assert Tool(function).name == f"lambda_{function.__code__.co_firstlineno}"

    def test_letters_that_providers_refuse_are_replaced_and_long_names_cut(self) -> None:
        def größe() -> None: ...

        größe_tool = Tool(größe)
        assert größe_tool.name == "gr__e"
        größe.__name__ = "x" * 80
        assert Tool(größe).name == "x" * 64
