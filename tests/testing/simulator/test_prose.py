"""Sentences of the simulated answers."""

from __future__ import annotations

import random

from hypothesis import given, strategies as st

from callgate.testing.simulator.answers import count_tokens
from callgate.testing.simulator.prose import write


@given(st.integers(1, 80), st.integers())
def test_a_text_has_exactly_the_given_number_of_words(words, seed):
    assert count_tokens(write(random.Random(seed), words)) == words
