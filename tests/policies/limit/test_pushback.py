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
        assert hold.room(1.0) == pytest.approx(0.55)  # twice what the refusal took, and 0.05 s

    def test_an_answered_probe_opens_the_gate(self) -> None:
        hold = Hold()
        refuse(hold, 1)
        hold.granted(2, now=1.0)
        assert not hold.answered(2)  # there was no pause
        assert not hold.held
        assert hold.room(1.0) == 0.0

    def test_a_refused_probe_makes_the_pause_real(self) -> None:
        hold = Hold()
        refuse(hold, 1)
        hold.granted(2, now=1.0)
        assert refuse(hold, 2, now=1.2) is True

    def test_after_a_pause_one_probe_goes_first_and_its_answer_ends_the_pause(self) -> None:
        hold = Hold()
        refuse(hold, 1, certain=True)
        assert hold.room(5.0) == 0.0
        hold.granted(2, now=5.0)
        assert hold.room(5.0) > 0.0
        assert hold.answered(2) is True
        assert not hold.held
        assert hold.answered(3) is False

    def test_a_probe_in_flight_when_the_pause_becomes_real_neither_ends_it_nor_lets_others_pass(self) -> None:
        hold = Hold()
        refuse(hold, 1)
        hold.granted(2, now=1.0)
        assert refuse(hold, 1, granted=2, certain=True) is True
        assert not hold.answered(2)
        assert hold.held
        assert hold.room(60.0) == 0.0
        assert hold.held
        hold.granted(3, now=60.0)
        assert hold.room(60.0) > 0.0

    def test_a_pause_that_no_probe_was_refused_after_is_ended_by_the_next_answer(self) -> None:
        """The answer to the probe comes after its time; the pauses in a row end with it all the same."""
        hold = Hold()
        refuse(hold, 1, certain=True)
        hold.granted(2, now=5.0)
        assert hold.room(60.0) == 0.0
        assert not hold.held
        assert hold.answered(2) is True

    def test_an_answer_to_a_call_that_was_sent_later_opens_the_gate_without_a_probe(self) -> None:
        hold = Hold()
        refuse(hold, 3, granted=9)
        hold.answered(2)
        assert hold.held
        hold.answered(4)
        assert not hold.held

    def test_a_refusal_that_a_later_call_has_disproved_holds_nothing(self) -> None:
        hold = Hold()
        hold.answered(5)
        assert refuse(hold, 4, granted=9) is False
        assert not hold.held

    def test_answers_to_calls_sent_before_the_latest_refused_one_show_nothing(self) -> None:
        hold = Hold()
        refuse(hold, 3, granted=9)
        refuse(hold, 6, granted=9)
        hold.answered(5)
        assert hold.held
        hold.answered(7)
        assert not hold.held

    def test_a_quota_that_is_reported_as_used_up_is_real_at_once(self) -> None:
        hold = Hold()
        hold.answered(5)
        assert refuse(hold, 4, granted=9, certain=True) is True
        hold.answered(9)  # in flight when it came
        assert hold.held

    def test_refusals_of_calls_in_a_row_are_real_at_once_in_whatever_order_they_come(self) -> None:
        hold = Hold()
        assert [refuse(hold, order, granted=9) for order in (4, 1, 9, 2)] == [False] * 4
        assert refuse(hold, 3, granted=9)
        hold.answered(9)
        assert hold.held

    def test_half_of_the_calls_in_a_row_are_several(self) -> None:
        hold = Hold()
        real = [refuse(hold, order, granted=100) for order in range(1, 40, 2)]
        assert real[:7] == [False] * 7
        assert all(real[7:])

    def test_refusals_that_come_before_the_answers_to_calls_between_them_are_not_several(self) -> None:
        """Providers refuse at once, while an answer takes its time."""
        hold = Hold()
        assert not any(refuse(hold, order, granted=200) for order in range(1, 200, 12))

    def test_the_call_that_was_granted_last_is_waited_for_if_it_is_in_flight(self) -> None:
        hold = Hold()
        refused = {"now": 1.0, "seconds": 0.25, "granted": 9, "certain": False, "latest_sent_at": 0.5}
        assert hold.refused(3, **refused) is False  # type: ignore[arg-type]
        assert hold.room(1.0) == pytest.approx(0.05)
        assert hold.refused(9, **refused) is False  # type: ignore[arg-type]
        assert hold.held
        assert hold.room(1.0) == 0.0  # now a probe
        hold.granted(10, now=1.0)
        assert refuse(hold, 10, now=1.2) is True

    def test_a_later_call_that_would_have_been_refused_by_now_shows_that_the_gate_is_open(self) -> None:
        hold = Hold()
        assert hold.refused(3, 1.5, 0.25, granted=9, certain=False, latest_sent_at=0.5) is False
        assert not hold.held

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
        assert hold.room(1.549) == pytest.approx(0.001)
        assert hold.room(1.56) == 0.0
        assert not hold.held
        assert refuse(hold, 2, now=9.0) is False  # it was refused after all: that is news again
        assert hold.held

    def test_where_refusals_come_at_random_a_second_probe_has_to_confirm_the_first(self) -> None:
        hold = Hold()
        for order in (1, 11, 21):
            refuse(hold, order)
            hold.granted(order + 1, now=1.0)
            hold.answered(order + 1)
        refuse(hold, 31)
        hold.granted(32, now=1.0)
        assert refuse(hold, 32) is False
        assert hold.room(1.0) == 0.0
        hold.granted(33, now=1.0)
        assert refuse(hold, 33) is True
        # From then on they are of all again.
        hold.granted(41, now=9.0)
        assert refuse(hold, 41) is True

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
        pushback.reset()
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
