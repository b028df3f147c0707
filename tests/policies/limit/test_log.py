"""A span over the log of admissions: what it holds, and how long a cost waits for room."""

from __future__ import annotations

from callgate.policies.limit.log import GONE, Slot, Span


def span_with(*admissions: tuple[float, float], ceiling: float = 10.0, seconds: float = 60.0) -> Span:
    span = Span(seconds, ceiling, 0.0, GONE)
    for at, amount in admissions:
        span.slots.append(Slot(amount, at))
        span.used += amount
    return span


def test_an_admission_counts_for_exactly_the_length_of_the_span() -> None:
    span = span_with((0.0, 4.0))
    span.forget(59.9)
    assert (span.used, span.next_forgotten) == (4.0, 60.0)
    slot = span.slots[0]
    span.forget(60.0)
    assert (span.used, list(span.slots), slot.age) == (0.0, [], GONE)


def test_a_cost_waits_until_enough_of_the_oldest_has_left() -> None:
    span = span_with((0.0, 4.0), (10.0, 6.0))
    assert span.wait(0.0, 20.0) == 0.0
    assert span.wait(4.0, 20.0) == 40.0
    assert span.wait(5.0, 20.0) == 50.0


def test_units_that_are_not_sent_yet_count_for_a_whole_span() -> None:
    span = span_with()
    span.used = 10.0
    assert span.wait(1.0, 5.0) == 60.0
    assert span_with().wait(10.0, 5.0) == 0.0
