"""The simulator's counters."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from callgate.testing.simulator.stats import Stats, Utilisation, content_of, fingerprint


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50)), min_size=1, max_size=60))
def test_the_busiest_window_is_exact(steps):
    used, now, log = Utilisation(60.0), 0.0, []
    for gap, tokens in steps:
        now += gap
        used.add(now, tokens)
        log.append((now, tokens))
    spans = [[(t, k) for t, k in log if end - 60.0 + 1e-9 < t <= end] for end, _ in log]
    # Several at the same moment are in one window together, so only the last of them counts as its end.
    assert used.busiest_requests == max(len(span) for span in spans)
    assert used.busiest_tokens == pytest.approx(max(sum(k for _, k in span) for span in spans))


def test_share_of_a_perfectly_paced_client_is_one():
    used = Utilisation(60.0, requests_limit=600, tokens_limit=6000)
    for number in range(1500):
        used.add(number * 0.1, 10)
    assert used.requests_share == pytest.approx(1.0)
    assert used.tokens_share == pytest.approx(1.0)


def test_correction_counts_in_the_total_and_in_the_window():
    used = Utilisation(60.0, tokens_limit=100)
    entry = used.add(0.0, 10)
    used.correct(entry, 40)
    assert (used.tokens, used.busiest_tokens, used.log) == (50, 50, [(0.0, 50)])


def test_memory_of_a_busy_window_is_bounded():
    used = Utilisation(60.0)
    for number in range(100_000):
        used.add(number * 1e-4, 1)
    assert used.busiest_requests == 100_000
    assert not used.exact
    assert len(used._trail) < 60_000


def test_contents_beyond_the_bound_are_only_summed():
    stats = Stats(60.0, max_contents=2)
    for content in (1, 2, 3, 1):
        stats.arrived(content)
    assert stats.received_by_content == {1: 2, 2: 1}
    assert stats.uncounted_contents == 1


def test_content_ignores_the_order_of_keys_only():
    assert content_of({"a": 1, "b": [1, 2]}) == content_of({"b": [1, 2], "a": 1})
    assert content_of({"b": [1, 2]}) != content_of({"b": [2, 1]})


def test_keys_are_shown_as_fingerprints():
    stats = Stats(60.0)
    stats.open("sk-canary").requests += 1
    assert stats.key("sk-canary").requests == 1
    assert "canary" not in repr(stats.as_dict())
    assert fingerprint("") == "anonymous"


def test_utilisation_of_several_keys_needs_a_key():
    stats = Stats(60.0)
    stats.open("a")
    stats.open("b")
    with pytest.raises(ValueError, match=r"stats\.key"):
        _ = stats.used
