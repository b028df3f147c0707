"""What is particular to OpenAI embeddings in the simulator."""

from __future__ import annotations

import math

import pytest

from tests.testing.simulator.clocked_provider import ClockedProvider, parsed

PATH = "/v1/embeddings"


def test_each_text_gets_a_vector_of_its_own_and_output_costs_nothing():
    clocked = ClockedProvider()
    answer = parsed(clocked.post(path=PATH, messages=..., input=["one", "two", "one"]))
    vectors = [item["embedding"] for item in answer["data"]]
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    assert vectors[0] == vectors[2] != vectors[1]
    assert all(math.isclose(sum(value * value for value in vector), 1.0) for vector in vectors)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


def test_the_dimensions_are_those_asked_for():
    answer = parsed(ClockedProvider().post(path=PATH, messages=..., input="one", dimensions=3))
    assert len(answer["data"][0]["embedding"]) == 3


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": 7}, "input"),
        ({"input": []}, "$.input"),
        ({"input": ["a", ""]}, "$.input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
    ],
)
def test_what_openai_refuses_is_refused(body, param):
    plan = ClockedProvider().post(path=PATH, messages=..., **body)
    assert plan.status == 400
    assert param in parsed(plan)["error"]["message"] or parsed(plan)["error"]["param"] == param
