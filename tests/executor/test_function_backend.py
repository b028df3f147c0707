"""A function's result as a response."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.executor.function_backend import Returned429, api_call_backend
from callgate.response import Response


def response_to(result: Any) -> Response:
    async def function() -> Any:
        return result

    async def main() -> Response:
        return await api_call_backend(function)(Calling({}))

    return asyncio.run(main())


def test_a_tuple_of_status_headers_and_body_is_an_answer() -> None:
    response = response_to((201, {"X-Id": "7"}, "made"))
    assert (response.status_code, response.headers, response.data, response.text) == (
        201,
        {"X-Id": "7"},
        "made",
        "made",
    )
    assert response_to((200, None, [1])).headers == {}


@pytest.mark.parametrize("result", [{"a": 1}, None, 3, ("a", {}, "b"), (200, {}), (7, {}, "x")])
def test_any_other_value_is_the_body_of_a_200(result: Any) -> None:
    response = response_to(result)
    assert (response.status_code, response.raw) == (200, result)


def test_a_response_is_passed_on() -> None:
    response = Response("4", status_code=204)
    assert response_to(response) is response


def test_an_error_status_is_an_answer_too() -> None:
    assert response_to((500, {}, "down")).status_code == 500


def test_a_429_is_raised_with_its_wait_and_keeps_the_answer() -> None:
    with pytest.raises(Returned429) as caught:
        response_to((429, {"Retry-After": "7"}, "slow down"))
    assert (caught.value.retry_after, caught.value.response.data) == (7.0, "slow down")
