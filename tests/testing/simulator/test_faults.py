"""Faults: each one's effect on a plain answer and on a stream, its rate and its bill."""

from __future__ import annotations

import pytest

from callgate.testing.simulator import Answer, Ending
from tests.testing.simulator.clocked_provider import ClockedProvider, parsed

FAULTY = {
    "429": lambda plan: plan.status == 429 and "retry-after" in dict(plan.headers),
    "500": lambda plan: plan.status == 500,
    "503": lambda plan: plan.status == 503,
    "529": lambda plan: plan.status == 529,
    "reset": lambda plan: plan.ending is Ending.RESET and not plan.chunks,
    "truncated": lambda plan: plan.ending is Ending.TRUNCATED and 0 < len(plan.body) < plan.content_length,
    "garbage": lambda plan: plan.status == 200 and b"<html>" in plan.body,
    "slow": lambda plan: plan.delay == 5.0,
    "stall": lambda plan: plan.ending is Ending.STALL and 0 < len(plan.body) < plan.content_length,
    "oversized": lambda plan: plan.content_length == len(plan.body) > 1000,
}


@pytest.mark.parametrize("fault", FAULTY)
def test_each_fault_on_a_plain_answer(fault):
    clocked = ClockedProvider(faults={fault: 1.0}, oversized_bytes=1000)
    assert FAULTY[fault](clocked.post())
    assert clocked.stats.faults == {fault: 1}


@pytest.mark.parametrize("fault", ["truncated", "garbage", "stall", "stream_error", "oversized"])
def test_each_fault_on_a_stream_happens_in_its_middle(fault):
    clocked = ClockedProvider(faults={fault: 1.0}, oversized_bytes=100_000)
    plan = clocked.post(stream=True)
    assert plan.status == 200
    assert plan.body.startswith(b'data: {"id"')
    assert plan.body.endswith(b"data: [DONE]\n\n") == (fault == "oversized")
    if fault == "stream_error":
        assert b'data: {"error"' in plan.body
    if fault == "oversized":
        assert len(plan.body) > 100_000


def test_an_oversized_answer_is_valid_at_its_end():
    assert parsed(ClockedProvider(faults={"oversized": 1.0}, oversized_bytes=200_000).post())["choices"]


def test_faults_have_their_rate_in_any_order_of_requests():
    def outcomes(order):
        clocked = ClockedProvider(faults={"500": 0.1, "reset": 0.1}, seed=4)
        return {text: clocked.post(str(text)).status for text in order}

    forth, back = outcomes(range(1000)), outcomes(reversed(range(1000)))
    assert forth == back
    for status in (0, 500):
        assert 70 <= list(forth.values()).count(status) <= 130


def test_each_attempt_draws_its_own_fault():
    clocked = ClockedProvider(faults={"500": 0.5})
    assert {clocked.post().status for _ in range(20)} == {200, 500}


def test_a_status_fault_is_not_billed_and_a_broken_answer_is():
    free, paid = (
        ClockedProvider(faults={"500": 1.0}, output_price=1.0),
        ClockedProvider(faults={"truncated": 1.0}, output_price=1.0),
    )
    free.post()
    paid.post()
    assert free.stats.bill == 0
    assert paid.stats.bill > 0


def test_scripted_fault_and_status():
    clocked = ClockedProvider(answers=[Answer(fault="reset"), Answer(status=429, retry_after=7)])
    assert clocked.post().ending is Ending.RESET
    assert dict(clocked.post().headers)["retry-after"] == "7"
