"""Every canonical request, encoded by a dialect and judged by the types of the provider's official SDK.

    class TestGroqRequests(RequestConformance):
        dialect = dialect_of(find_host("groq"))
        model = "llama-3.3-70b-versatile"
        tool_call = CHAT_CALL
        refused = {"file by id": "takes no files"}

        def judge(self, wire, *, stream):
            return problems_of(CompletionCreateParams, json.loads(wire.body))

Each request of `requests_matrix` is encoded plain, streamed, and as the second turn of `run_tools`. What a
dialect cannot express stands in `refused`, with a pattern that its error matches.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

from callgate.backends.tool import Tool
from callgate.errors import InvalidRequestError
from callgate.model.tools import run_tools
from callgate.providers.dialect import Dialect, WireRequest
from callgate.response import Response
from tests.providers.requests_matrix import REQUESTS, WEATHER, weather

__all__ = ["CHAT_CALL", "RequestConformance"]

CHAT_CALL: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                    }
                ],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
"""An answer of a chat dialect that calls the tool `weather`."""

_WEATHER_TOOL = Tool(weather)


class RequestConformance:
    """The tests; see the module."""

    dialect: ClassVar[Dialect]
    model: ClassVar[str]
    tool_call: ClassVar[Mapping[str, Any]]
    """The provider's answer, as JSON, that calls the tool `weather`."""
    extra: ClassVar[Mapping[str, Any]] = {}
    """Fields that go with every request (a project, a location)."""
    refused: ClassVar[Mapping[str, str]] = {}
    """Requests that the dialect refuses, by name -> a pattern that the error matches."""
    refused_with_tools: ClassVar[frozenset[str]] = frozenset()
    """Requests that the dialect refuses only beside tools."""

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        """What is wrong with a body, a line each."""
        raise NotImplementedError

    def test_each_request_is_what_the_sdk_would_send(self) -> None:
        wrong = {name: self._problems_of(name) for name in REQUESTS}
        assert {name: problems for name, problems in wrong.items() if problems} == {}

    def _problems_of(self, name: str) -> list[str]:
        """What is wrong with a request, plain and streamed."""
        request = self._request(name)
        before = copy.deepcopy(request)
        pattern = self.refused.get(name)
        problems: list[str] = []
        for stream in (False, True):
            try:
                wire = self.dialect.encode(request, stream=stream)
            except InvalidRequestError as error:
                if pattern is None or re.search(pattern, str(error)) is None:
                    problems.append(f"{stream=}: refused: {error}")
                if not error.surely_unsent:
                    problems.append(f"{stream=}: its error is not surely_unsent")
            else:
                if pattern is not None:
                    problems.append(f"{stream=}: not refused")
                else:
                    problems += self.judge(wire, stream=stream)
        if request != before:
            problems.append("encoding changed the request")
        return problems

    def test_second_turn_of_run_tools_is_what_the_sdk_would_send(self) -> None:
        asyncio.run(self._judge_second_turns())

    async def _judge_second_turns(self) -> None:
        wrong: dict[str, list[str]] = {}
        refused = self.refused.keys() | self.refused_with_tools
        for name in REQUESTS.keys() - refused:
            problems = await self._problems_of_two_turns(name) if "messages" in REQUESTS[name] else []
            if problems:
                wrong[name] = problems
        assert wrong == {}

    async def _problems_of_two_turns(self, name: str) -> list[str]:
        """What is wrong with the two requests that `run_tools` sends for this one."""
        given = self._request(name)
        tools = given.pop("tools", None) or []
        tools = [tool for tool in tools if tool != WEATHER and tool.get("name") != "weather"]
        turns: list[WireRequest] = []

        async def invoke(**request: Any) -> Any:
            asked = [*request["tools"], *(tool for tool in tools if _name(tool) != "weather")]
            turns.append(self.dialect.encode({**request, "tools": asked}))
            return SimpleNamespace(response=self._answer() if len(turns) == 1 else Response(text="Rain."))

        run = await run_tools(invoke, given.pop("messages"), [_WEATHER_TOOL], **given)
        assert len(turns) == 2, name
        assert [message["content"] for message in run.messages[-1:]] == ["rain in Oslo"], name
        return [problem for turn in turns for problem in self.judge(turn, stream=False)]

    def _request(self, name: str) -> dict[str, Any]:
        return {"model": self.model, **self.extra, **copy.deepcopy(REQUESTS[name])}

    def _answer(self) -> Response:
        return self.dialect.decode(json.dumps(self.tool_call).encode(), {})


def _name(tool: Mapping[str, Any]) -> Any:
    return tool.get("name") or tool.get(str(tool.get("type")), {}).get("name")
