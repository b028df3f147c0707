"""One resource's rate: pacing by the bucket, the promise by the log, debts, news and changes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from callgate.policies.limit.quota import Quota
from callgate.policies.limit.window import RateWindow
from tests.effort import examples
from tests.policies.limit.window_checker import Admission, fullest_window


def admit(window: RateWindow, cost: float, now: float) -> float:
    """Wait as often as it says, take, and tell when that was."""
    while (wait := window.wait(cost, now)) > 0.0:
        now += wait
    window.take(cost, now)
    return now


def burst(window: RateWindow, now: float) -> int:
    """How many units of 1 go at once."""
    count = 0
    while window.wait(1, now) == 0.0:
        window.take(1, now)
        count += 1
    return count


class TestBursts:
    @pytest.mark.parametrize(
        ("quota", "expected"),
        [
            (Quota(10, 1.0), 10),  # up to a second: all at once
            (Quota(600, 60.0), 50),  # paced: five seconds' worth
            (Quota(60, 3.0), 60),  # five seconds' worth would be more than all
            (Quota(50, 60.0), 10),  # ten calls, where that is more
            (Quota(6, 60.0), 6),
            (Quota(1, 60.0), 1),
            (Quota(1000, 86_400.0), 1000),  # a stock for the day
            (Quota(600, 60.0, capacity=600), 600),
            (Quota(600, 60.0, capacity=7), 7),
            (Quota(10, 1.0, capacity=25), 25),
            (Quota(0.5, 1.0), 1),
            (Quota(2.5, 1.0), 2),
        ],
    )
    def test_what_goes_at_once(self, quota: Quota, expected: int) -> None:
        assert burst(RateWindow(quota, 0.0), 0.0) == expected

    def test_a_long_window_is_paced_after_the_first_burst(self) -> None:
        window = RateWindow(Quota(600, 60.0), 0.0)
        times = []
        now = 0.0
        for _ in range(200):
            now = admit(window, 1, now)
            times.append(now)
        for second in range(1, 14):
            assert sum(second < at <= second + 1 for at in times) in (9, 10)

    def test_less_than_one_a_period_is_one_in_a_longer_period(self) -> None:
        window = RateWindow(Quota(0.5, 1.0), 0.0)
        assert admit(window, 1, 0.0) == 0.0
        assert admit(window, 1, 0.0) == pytest.approx(2.01)

    def test_a_start_that_is_not_full(self) -> None:
        window = RateWindow(Quota(10, 1.0), 0.0, level=3)
        assert burst(window, 0.0) == 3
        assert RateWindow(Quota(10, 1.0), 0.0, level=99).level(0.0) == 10

    def test_a_short_window_is_paced_after_the_first_burst(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        now, times = 0.0, []
        for _ in range(400):
            now = admit(window, 1, now)
            times.append(now)
        assert times[:100] == [0.0] * 100
        assert times[100] == pytest.approx(1.01)
        for tenth in range(11, 40):
            assert sum(tenth < 10 * at <= tenth + 1 for at in times) <= 20

    def test_no_second_burst_is_saved_while_calls_go_on(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        now = 0.0
        for _ in range(300):
            now = admit(window, 1, now)
        assert burst(window, now + 0.9) == 10

    def test_a_window_that_was_empty_for_its_whole_length_may_burst_again(self) -> None:
        for quota, size in ((Quota(100, 1.0), 100), (Quota(50, 60.0), 10)):
            window = RateWindow(quota, 0.0)
            now = 0.0
            for _ in range(3 * quota.rate):
                now = admit(window, 1, now)
            assert burst(window, now + 0.5 * quota.period) < size
            assert burst(window, now + 3.0 * quota.period) == size

    def test_a_window_that_begins_empty_takes_ten_calls_like_its_first_one(self) -> None:
        for cost, calls in ((300, 10), (10, 83), (2_000, 5)):
            window = RateWindow(Quota(10_000, 60.0), 0.0)
            count = 0
            while window.wait(cost, 0.0) == 0.0:
                window.take(cost, 0.0)
                count += 1
            assert count == calls

    def test_ten_calls_at_fifty_a_minute_go_at_once_and_the_next_are_paced(self) -> None:
        window = RateWindow(Quota(50), 0.0)
        now, times = 0.0, []
        for _ in range(12):
            now = admit(window, 1, now)
            times.append(round(now, 2))
        assert times == [0.0] * 10 + [1.2, 2.41]


class TestRatesThatAreNoWholeNumber:
    @pytest.mark.parametrize(
        ("rate", "period", "several"),
        [(1.5, 1.0, 2), (7.5, 1.0, 2), (2.9, 10.0, 10), (16.75, 60.0, 4), (1000.5, 60.0, 2)],
    )
    def test_they_are_kept_over_several_periods_and_rounded_up_in_one(
        self, rate: float, period: float, several: int
    ) -> None:
        window = RateWindow(Quota(rate, period), 0.0)
        now, times = 0.0, []
        while now < 60 * period:
            now = admit(window, 1, now)
            times.append(now)
        admissions = [Admission(at, 1) for at in times]
        assert fullest_window(admissions, period).amount <= math.ceil(rate)
        assert fullest_window(admissions, several * period).amount <= rate * several
        assert len(times) >= 0.985 * rate * 60

    def test_a_rate_that_has_no_short_period_is_kept_all_the_same(self) -> None:
        window = RateWindow(Quota(math.pi, 1.0), 0.0)
        now, count = 0.0, 0
        while now < 1000:
            now = admit(window, 1, now)
            count += 1
        assert 0.985 * 1000 * math.pi < count <= 1000 * math.pi

    @pytest.mark.parametrize("rate", [4.9999, 5.0001])
    def test_a_rate_that_is_nearly_whole_is_counted_in_one_window(self, rate: float) -> None:
        window = RateWindow(Quota(rate, 1.0), 0.0)
        assert len(window._spans) == 1
        assert burst(window, 0.0) == 5 if rate > 5 else 4

    def test_a_call_counts_in_each_of_the_windows_it_is_still_in(self) -> None:
        window = RateWindow(Quota(1.5, 1.0), 0.0)
        _, slot, *_ = window.take(1, 0.0)
        window.take(1, 1.02)
        assert [span.used for span in window._spans] == [1, 2]
        window.settle(slot, 1, 0, 1.03)
        assert [span.used for span in window._spans] == [1, 1]
        window.configure(Quota(2.5, 1.0), 1.04)
        assert [span.used for span in window._spans] == [1, 1]

    def test_a_burst_that_was_asked_for_is_granted(self) -> None:
        assert burst(RateWindow(Quota(2.5, 1.0, capacity=10), 0.0), 0.0) == 10


class TestSending:
    def test_a_call_counts_from_when_it_was_sent(self) -> None:
        window = RateWindow(Quota(1, 1.0), 0.0)
        _, slot, *_ = window.take(1, 0.0)
        window.sent(slot, 1, 0.4)
        assert window.wait(1, 0.5) == pytest.approx(0.91)
        assert window.used(1.4) == 1
        assert window.used(1.42) == 0

    def test_a_call_on_hold_counts_however_long_it_takes(self) -> None:
        window = RateWindow(Quota(1, 1.0), 0.0)
        _, slot, *_ = window.take(1, 0.0)
        slot = window.hold(slot, 1, 0.1)
        assert window.used(5.0) == 1
        assert window.wait(1, 5.0) == pytest.approx(1.01)  # not before: it would have to be sent now
        window.sent(slot, 1, 5.5)
        assert window.used(6.5) == 1
        assert window.used(6.52) == 0

    def test_a_call_on_hold_can_be_given_back(self) -> None:
        window = RateWindow(Quota(1, 1.0), 0.0)
        _, slot, *_ = window.take(1, 0.0)
        slot = window.hold(slot, 1, 0.1)
        window.settle(slot, 1, 0, 0.2)
        assert window.used(0.2) == 0
        assert window.wait(1, 0.2) == 0.0

    def test_a_call_sent_after_its_window_counts_in_this_one(self) -> None:
        window = RateWindow(Quota(2, 1.0), 0.0)
        _, slot, *_ = window.take(1, 0.0)
        window.take(1, 3.0)
        slot = window.sent(slot, 1, 3.5)
        assert window.used(3.5) == 2
        window.settle(slot, 1, 0, 3.6)
        assert window.used(3.6) == 1

    def test_a_call_sent_a_little_later_keeps_its_place_and_counts_from_then(self) -> None:
        window = RateWindow(Quota(10, 60.0), 0.0)
        _, slot, *_ = window.take(1, 0.0)
        assert window.sent(slot, 1, 0.01) is slot
        window.settle(slot, 1, 3, 0.02)
        assert window.used(60.245) == 3  # the guard is 0.24 s: a call sent at 0.0 would be forgotten
        assert window.used(60.3) == 0

    def test_a_call_that_costs_nothing_has_no_place_to_move(self) -> None:
        window = RateWindow(Quota(1, 1.0), 0.0)
        assert window.hold(None, 0, 0.0) is None
        assert window.sent(None, 0, 0.0) is None


class TestCaution:
    def test_a_429_within_the_quota_widens_the_guard_and_shrinks_the_burst(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        for at in (0.0, 2.0, 4.0, 6.0):
            window.pushed_back(at)
        assert burst(window, 20 * 1.01) < 60
        assert 1.01 < window.wait(100, 20 * 1.01) < 1.051

    def test_it_counts_once_in_a_window(self) -> None:
        once, often = RateWindow(Quota(100, 1.0), 0.0), RateWindow(Quota(100, 1.0), 0.0)
        once.pushed_back(0.0)
        for at in range(10):
            often.pushed_back(0.1 * at)
        assert once._caution == often._caution == 0.25

    def test_at_most_caution_95_percent_are_used_and_it_is_forgotten_slowly(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        now, times = 0.0, []
        for number in range(6000):
            now = admit(window, 1, now)
            times.append(now)
            if number < 1000:
                window.pushed_back(now)
        assert times[999] == pytest.approx(10 * 1.05, rel=0.02)
        assert times[-1] - times[-501] == pytest.approx(5 * 1.01, rel=0.001)
        assert window._caution == 0.0

    def test_a_stock_and_a_burst_that_was_asked_for_stay_as_they_are(self) -> None:
        for quota in (Quota(1000, 86_400.0), Quota(100, 1.0, capacity=100)):
            window = RateWindow(quota, 0.0)
            window.pushed_back(0.0)
            assert burst(window, 0.0) == quota.rate


class TestCosts:
    @pytest.mark.parametrize("cost", [0.0, -1.0, -math.inf])
    def test_what_costs_nothing_waits_for_nothing(self, cost: float) -> None:
        window = RateWindow(Quota(1, 1.0), 0.0)
        window.take(1, 0.0)
        assert window.wait(cost, 0.0) == 0.0
        assert window.eta(0, cost, 0.0) == 0.0
        window.take(cost, 0.0)
        assert window.used(0.0) == 1

    @pytest.mark.parametrize("cost", [100.1, math.inf, math.nan])
    def test_what_can_never_fit_waits_for_ever(self, cost: float) -> None:
        window = RateWindow(Quota(100), 0.0)
        assert window.wait(cost, 0.0) == math.inf
        assert window.reserve(cost, 0.0) == math.inf
        assert window.used(0.0) == 0.0

    def test_the_whole_quota_in_one_call_fits_although_bursts_are_smaller(self) -> None:
        window = RateWindow(Quota(600, 60.0), 0.0)
        assert admit(window, 600, 0.0) == 0.0
        assert window.level(0.0) == 0
        assert admit(window, 600, 0.0) == pytest.approx(60.24)

    def test_large_calls_buy_no_more_than_their_share(self) -> None:
        window = RateWindow(Quota(600, 60.0), 0.0)
        now, admissions = 0.0, []
        for number in range(200):
            cost = (599, 3, 450, 60, 1)[number % 5]
            now = admit(window, cost, now)
            admissions.append(Admission(now, cost))
        assert fullest_window(admissions, 60.0).amount <= 600
        assert sum(cost for _, cost in admissions) >= 0.65 * 10 * now  # what such lumps leave of it


class TestLog:
    def test_it_stays_small_whatever_the_rate(self) -> None:
        window = RateWindow(Quota(1e9, 10.0), 0.0)
        for number in range(100_000):
            window.take(1.0, number / 5_000)
        assert len(window._spans[0].slots) <= 2100
        assert window.used(20.0) == pytest.approx(50_000, rel=0.01)

    def test_a_step_stands_for_its_latest_admission(self) -> None:
        window = RateWindow(Quota(2048, 2048.0), 0.0, level=math.inf)
        span = 2048 * 1.004
        window.take(1, 0.0)
        window.take(1, 0.9)
        window.take(1, 1.1)
        assert window.used(span + 0.8) == 3
        assert window.used(span + 0.91) == 1
        assert window.used(span + 1.2) == 0

    def test_an_earlier_now_is_read_as_the_latest_one(self) -> None:
        window = RateWindow(Quota(10, 1.0), 100.0)
        window.take(10, 100.0)
        assert window.wait(1, 50.0) == pytest.approx(1.01)
        window.take(0.0, 50.0)
        assert window.used(50.0) == 10

    def test_the_shortest_wait_moves_any_monotonic_clock(self) -> None:
        window = RateWindow(Quota(7, 0.001), 1e7)
        now = 1e7
        for _ in range(1000):
            now = admit(window, 1, now)
        assert now > 1e7 + 0.14


class TestSettling:
    def test_less_than_estimated_comes_back_to_bucket_and_log(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        _, slot, *_ = window.take(80, 0.0)
        window.settle(slot, 80, 30, 0.1)
        assert window.used(0.1) == 30
        assert window.level(0.1) == pytest.approx(70)
        window.settle(slot, 30, 30, 0.2)
        assert window.charged == 30

    def test_what_comes_back_never_overfills_the_bucket(self) -> None:
        window = RateWindow(Quota(600, 60.0), 0.0)
        _, slot, *_ = window.take(4, 0.0)
        window.take(40, 0.0)
        window.settle(slot, 4, 0, 10.0)
        assert window.level(10.0) == 50

    def test_a_debt_in_the_log_lasts_one_window(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        _, slot, *_ = window.take(10, 0.0)
        window.settle(slot, 10, 100_000, 0.5)
        assert window.wait(1, 0.5) > 0.5
        assert admit(window, 1, 0.5) < 0.5 + 1.1 * 1.004

    def test_what_came_on_top_after_its_window_counts_in_this_one(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        _, slot, *_ = window.take(10, 0.0)
        window.settle(slot, 10, 60, 5.0)
        assert window.used(5.0) == 50
        window.settle(slot, 60, 20, 6.5)
        assert window.used(6.5) == 0
        assert window.level(6.5) == 100

    def test_a_cost_that_was_thought_to_be_nothing(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        _, slot, *_ = window.take(0, 0.0)
        assert slot is None
        window.settle(slot, 0, 40, 0.0)
        assert window.used(0.0) == 40
        window.settle(slot, 40, 10, 0.0)  # no place in the log is known to be its own
        assert window.used(0.0) == 40
        assert window.used(1.01) == 0


class TestNews:
    def test_they_only_tighten(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        window.tighten(500, None, 0.0)
        assert window.level(0.0) == 100
        window.tighten(20, None, 0.0)
        assert window.level(0.0) == 20
        window.tighten(60, None, 0.0)
        assert window.level(0.0) == 20

    @pytest.mark.parametrize("remaining", [math.nan, math.inf])
    def test_a_remainder_that_is_none_is_no_news(self, remaining: float) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        window.tighten(remaining, 1.0, 0.0)
        assert window.level(0.0) == 100

    def test_below_nothing_is_nothing_and_a_debt_is_at_most_one_window(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        window.tighten(-5, None, 0.0)
        assert window.level(0.0) == 0
        window.tighten(0, None, 0.0, reserved_since=100_000)
        assert window.level(0.0) == -100

    def test_what_they_took_comes_back_when_the_provider_resets(self) -> None:
        window = RateWindow(Quota(100, 10.0), 0.0)
        window.tighten(0, 2.0, 0.0)
        assert window.wait(40, 0.0) == 2.0
        assert window.level(1.0) == pytest.approx(9.96, rel=0.01)
        assert window.level(2.0) == 50

    def test_it_comes_back_once(self) -> None:
        window = RateWindow(Quota(100, 10.0, capacity=50), 0.0)
        window.tighten(10, 1.0, 0.0)
        assert window.level(1.0) == 50
        window.take(30, 1.0)
        window.tighten(15, 1.0, 1.0)
        assert window.level(2.0) == pytest.approx(15 + 5 + 9.96, rel=0.01)

    @pytest.mark.parametrize("reset_after", [None, math.nan, -1.0, math.inf])
    def test_without_a_reset_the_refill_brings_it_back(self, reset_after: float | None) -> None:
        window = RateWindow(Quota(100, 10.0), 0.0)
        window.tighten(0, reset_after, 0.0)
        assert window.wait(40, 0.0) == pytest.approx(4.016)

    def test_an_old_remainder_has_recovered_as_a_bucket_has(self) -> None:
        window = RateWindow(Quota(100, 10.0), 0.0)
        window.tighten(0, None, 3.0, reserved_since=10, sent_at=0.0, used_since=10)
        assert window.level(3.0) == pytest.approx(3 * 9.96 - 10, rel=0.01)

    def test_an_old_remainder_has_recovered_as_a_sliding_window_has(self) -> None:
        window = RateWindow(Quota(100, 10.0), 0.0)
        window.tighten(0, None, 3.0, reserved_since=50, sent_at=0.0, used_since=-30)
        assert window.level(3.0) == 30


class TestReservations:
    def test_each_stands_behind_those_before_it(self) -> None:
        window = RateWindow(Quota(2, 1.0, capacity=2), 0.0)
        waits = [round(window.reserve(1, 0.0), 3) for _ in range(6)]
        assert waits == [0.0, 0.0, 1.004, 1.004, 2.008, 2.008]
        assert round(window.reserve(1, 2.5), 3) == 0.512

    def test_whole_windows_of_others_ahead_are_waited_for(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        for total, windows in ((100, 0), (101, 1), (200, 1), (300, 2), (300 * (1 + 1e-9), 2), (301, 3)):
            assert window.eta(total - 1, 1, 0.0) == pytest.approx(windows * 1.01)

    @given(
        rate=st.integers(1, 50),
        period=st.sampled_from([0.5, 1.0, 10.0, 60.0]),
        capacity=st.one_of(st.none(), st.integers(1, 100)),
        costs=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    )
    @examples(75, derandomize=True)
    def test_the_eta_is_never_later_than_the_admission_turns_out_to_be(
        self, rate: int, period: float, capacity: int | None, costs: list[int]
    ) -> None:
        window = RateWindow(Quota(rate, period, capacity), 0.0)
        costs = [min(cost, int(window.ceiling)) for cost in costs]
        for cost in costs[::3]:
            window.reserve(cost, 0.0)
        start = window._at
        *before, last = costs
        promised = window.eta(sum(before), last, start)
        for cost in before:
            window.reserve(cost, start)
        assert window.reserve(last, start) >= promised - 1e-5


class TestChanges:
    def test_the_same_quota_changes_nothing(self) -> None:
        window = RateWindow(Quota(10, 1.0), 0.0)
        window.take(4, 0.0)
        window.configure(Quota(10, 1.0), 0.0)
        assert window.level(0.0) == 6

    def test_what_was_admitted_counts_against_the_new_quota(self) -> None:
        window = RateWindow(Quota(100, 1.0), 0.0)
        window.take(90, 0.0)
        window.configure(Quota(20, 1.0), 0.1)
        assert window.level(0.1) < 0
        assert admit(window, 1, 0.1) >= 1.004

    def test_an_idle_window_is_full_under_the_new_quota_too(self) -> None:
        window = RateWindow(Quota(5, 1.0), 0.0)
        window.configure(Quota(50, 1.0), 3.0)
        assert window.level(3.0) == 50

    def test_a_busy_one_gets_no_burst_for_the_change(self) -> None:
        window = RateWindow(Quota(5, 1.0), 0.0)
        window.take(5, 0.0)
        window.configure(Quota(50, 1.0), 0.0)
        assert window.level(0.0) == 0
        assert window.level(0.04) == pytest.approx(2, rel=0.01)
        assert window.level(0.9) == 5  # and later no more than pacing needs

    def test_a_shorter_period_forgets_sooner(self) -> None:
        window = RateWindow(Quota(100, 60.0), 0.0)
        window.take(50, 0.0)
        window.configure(Quota(100, 1.0), 2.0)
        assert window.used(2.0) == 0
        assert window.quota == Quota(100, 1.0)

    @given(
        history=st.lists(
            st.tuples(st.integers(1, 40), st.floats(0.0, 2.0), st.integers(1, 30)), min_size=1, max_size=12
        )
    )
    @examples(75, derandomize=True)
    def test_no_window_that_ends_under_a_quota_holds_more_than_that(
        self, history: list[tuple[int, float, int]]
    ) -> None:
        window = RateWindow(Quota(10, 1.0), 0.0)
        now, admissions = 0.0, []
        for rate, seconds, calls in history:
            now += seconds
            window.configure(Quota(rate, 1.0), now)
            since = math.nextafter(now, math.inf)  # what went just before the change is the old quota's
            for _ in range(calls):
                now = admit(window, 1, now)
                admissions.append(Admission(now, 1))
            assert fullest_window(admissions, 1.0, since).amount <= rate
