"""A repr of live state works in every state of an object."""

from __future__ import annotations

import pytest

from callgate.reprs import live_repr


class Counter:
    def __init__(self, count: int) -> None:
        if count < 0:
            raise ValueError("negative")
        self.count = count

    @live_repr
    def __repr__(self) -> str:
        return f"<Counter at {self.count}>"


def test_a_complete_object_shows_its_state() -> None:
    assert repr(Counter(3)) == "<Counter at 3>"


def test_an_object_whose_constructor_raised_is_shown_as_incomplete() -> None:
    with pytest.raises(ValueError, match="negative") as caught:
        Counter(-1)
    broken = caught.traceback[-1].frame.f_locals["self"]
    assert repr(broken) == "<Counter, incomplete>"
