"""What refused calls mean for the others, and how long a pause is."""

from __future__ import annotations

import random

import pytest

from callgate.policies.limit.pushback import Hold, Pushback


def refuse(
    hold: Hold, order: int, now: float = 1.0, *, granted: int | None = None, certain: bool = False
) -> bool:
    latest = order if granted is None else granted
    return hold.refused(order, now=now, seconds=0.25, granted=latest, certain=certain)


class TestHold:
    def test_a_refusal_lets_one_probe_go_at_once_and_no_second_one(self) -> None:
        hold = Hold()
        assert refuse(hold, 1) is False
        assert hold.held
        assert hold.room(1.0) == 0.0
        hold.granted(2, now=1.0)
        assert hold.room(1.0) == 1.0  # twice what the refusal took, and half a second

    def test_an_answered_probe_opens_the_gate(self) -> None:
        hold = Hold()
        refuse(hold, 1)
        hold.granted(2, now=1.0)
        assert hold.answered(2)
        assert not hold.held
        assert hold.room(1.0) == 0.0

    def test_a_refused_probe_makes_the_pause_real(self) -> None:
        hold = Hold()
        refuse(hold, 1)
        hold.granted(2, now=1.0)
        assert refuse(hold, 2, now=1.2) is True
        hold.pause_until(5.0)
        hold.pause_until(4.0)
        assert hold.room(1.2) == pytest.approx(3.8)

    def test_after_a_pause_one_probe_goes_first(self) -> None:
        hold = Hold()
        refuse(hold, 1, certain=True)
        hold.pause_until(5.0)
        assert hold.room(5.0) == 0.0
        hold.granted(2, now=5.0)
        assert hold.room(5.0) > 0.0
        assert hold.answered(2)

    def test_an_answer_to_a_call_that_was_sent_later_opens_the_gate_without_a_probe(self) -> None:
        hold = Hold()
        refuse(hold, 3, granted=9)
        assert not hold.answered(2)
        assert hold.held
        assert hold.answered(4)
        assert not hold.held

    def test_a_refusal_that_a_later_call_has_disproved_holds_nothing(self) -> None:
        hold = Hold()
        assert hold.answered(5)
        assert refuse(hold, 4, granted=9) is False
        assert not hold.held

    def test_answers_to_calls_sent_before_the_latest_refused_one_show_nothing(self) -> None:
        hold = Hold()
        refuse(hold, 3, granted=9)
        refuse(hold, 6, granted=9)
        assert not hold.answered(5)
        assert hold.answered(7)

    def test_a_quota_that_is_reported_as_used_up_is_real_at_once(self) -> None:
        hold = Hold()
        hold.answered(5)
        assert refuse(hold, 4, granted=9, certain=True) is True
        hold.pause_until(8.0)
        assert not hold.answered(9)  # in flight when it came
        assert hold.room(1.0) == 7.0

    def test_several_refusals_in_a_row_are_real_at_once(self) -> None:
        hold = Hold()
        assert [refuse(hold, order, granted=9) for order in (1, 2, 3, 4, 5)] == [
            False,
            False,
            False,
            True,
            True,
        ]
        assert not hold.answered(9)

    def test_half_of_the_latest_outcomes_are_several(self) -> None:
        hold = Hold()
        real = []
        for order in range(1, 40, 4):
            real.append(refuse(hold, order, granted=100))
            real.append(refuse(hold, order + 1, granted=100))
            hold.answered(0)
            hold.answered(0)
        assert real[:7] == [False] * 7
        assert real[7] is True

    def test_what_led_to_a_pause_is_forgotten_when_it_is_over(self) -> None:
        hold = Hold()
        for order in range(1, 10):
            refuse(hold, order)
        hold.granted(10, now=9.0)
        assert hold.answered(10)
        assert refuse(hold, 11) is False

    def test_a_probe_that_ends_without_a_word_makes_room_for_another(self) -> None:
        hold = Hold()
        refuse(hold, 1)
        hold.granted(2, now=1.0)
        hold.inconclusive(7)
        assert hold.room(1.0) > 0.0
        hold.inconclusive(2)
        assert hold.room(1.0) == 0.0
        assert hold.held

    def test_a_probe_that_is_not_refused_in_time_counts_as_answered(self) -> None:
        hold = Hold()
        refuse(hold, 1)
        hold.granted(2, now=1.0)
        assert hold.room(1.999) == pytest.approx(0.001)
        assert hold.room(2.0) == 0.0
        assert not hold.held
        assert refuse(hold, 2, now=9.0) is False  # it was refused after all: that is news again
        assert hold.held

    @pytest.mark.parametrize("seed", range(3))
    def test_refusals_at_random_hardly_ever_make_a_pause(self, seed: int) -> None:
        rng = random.Random(seed)
        hold = Hold()
        pauses = 0
        for order in range(1, 20_000):
            if rng.random() < 0.05:
                pauses += refuse(hold, order, granted=order + 64)
            else:
                hold.answered(order)
        assert pauses <= 1


class TestPushback:
    def test_without_a_retry_after_pauses_grow_with_every_one_in_a_row(self) -> None:
        pushback = Pushback(random.Random(0), base=1.0, ceiling=8.0)
        at, lengths = 0.0, []
        for _ in range(6):
            until = pushback.pause(at, None)
            lengths.append(until - at)
            at = until
        for length, full in zip(lengths, [1, 2, 4, 8, 8, 8], strict=True):
            assert full / 2 <= length <= full

    def test_refusals_during_a_pause_lengthen_nothing(self) -> None:
        pushback = Pushback(random.Random(0))
        until = pushback.pause(0.0, None)
        assert pushback.pause(until / 2, None) == until

    def test_an_answer_begins_anew(self) -> None:
        pushback = Pushback(random.Random(0), base=1.0)
        for at in (0.0, 10.0, 20.0):
            pushback.pause(at, None)
        pushback.relent()
        assert pushback.pause(100.0, None) <= 101.0

    def test_the_providers_word_is_a_floor_with_a_little_on_top(self) -> None:
        untils = [Pushback(random.Random(seed)).pause(0.0, 30.0) for seed in range(100)]
        assert all(30.0 <= until <= 31.5 for until in untils)
        assert len(set(untils)) > 90

    @pytest.mark.parametrize("retry_after", [0.0, -5.0, 0.001])
    def test_a_retry_after_of_nothing_is_not_taken_at_its_word_again_and_again(
        self, retry_after: float
    ) -> None:
        pushback = Pushback(random.Random(0))
        at, count = 0.0, 0
        while at < 60.0:
            at = pushback.pause(at, retry_after)
            count += 1
        assert count < 100

    def test_a_retry_after_that_no_call_waits_for_is_not_obeyed(self) -> None:
        """The call that got it ends at once; the others must find out soon, and not after an hour."""
        pushback = Pushback(random.Random(0), longest=120.0)
        assert pushback.pause(0.0, 120.0) >= 120.0
        assert Pushback(random.Random(0), longest=120.0).pause(0.0, 121.0) <= 1.0
