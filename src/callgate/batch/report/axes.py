"""Round figures for the axes of plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise

__all__ = ["PLAIN", "Unit", "figure", "nice_ticks", "span", "time_ticks"]

_MOST_TICKS = 6
_TIME_STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400
)  # fmt: skip
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


@dataclass(frozen=True, slots=True)
class Unit:
    """What stands before and after the figures of an axis.

    >>> Unit("$").labels([0.0, 0.05, 0.1]), Unit(after=" s")(1.25)
    (['$0.00', '$0.05', '$0.10'], '1.25 s')
    """

    before: str = ""
    after: str = ""

    def __call__(self, value: float) -> str:
        """A figure as text."""
        return f"{self.before}{figure(value)}{self.after}"

    def labels(self, ticks: Sequence[float]) -> list[str]:
        """The labels of an axis; all have the same number of decimals."""
        decimals = max(0, -math.floor(math.log10(ticks[1]) + 1e-9))
        return [f"{self.before}{tick:,.{decimals}f}{self.after}" for tick in ticks]


PLAIN = Unit()


def nice_ticks(top: float) -> list[float]:
    """Round figures from 0 to at least `top`, at most six, in steps of 1, 2 or 5 times a power of ten.

    >>> nice_ticks(36.3), nice_ticks(0.0274)
    ([0.0, 10.0, 20.0, 30.0, 40.0], [0.0, 0.01, 0.02, 0.03])
    >>> nice_ticks(0)
    [0.0, 1.0]
    """
    if top <= 0:
        return [0.0, 1.0]
    least = top / (_MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    steps = max(1, math.ceil(top / step - 1e-9))
    return [float(f"{step * index:.12g}") for index in range(steps + 1)]


def time_ticks(seconds: float) -> list[tuple[float, str]]:
    """Round times from 0 to at most `seconds`, with their labels; all have one unit.

    >>> time_ticks(200)
    [(0, '0'), (60, '1 min'), (120, '2 min'), (180, '3 min')]
    >>> time_ticks(0.9)[:2]
    [(0.0, '0'), (0.2, '0.2 s')]
    """
    if seconds < _MOST_TICKS - 1:
        return [(at, f"{at:g} s" if at else "0") for at in nice_ticks(seconds) if at <= seconds * (1 + 1e-9)]
    steps = (*_TIME_STEPS, *(86400 * days for days in (2, 5, 10, 20, 50, 100)))
    step = next((each for each in steps if seconds / each <= _MOST_TICKS), steps[-1])
    size, unit = next((size, unit) for size, unit in _UNITS if step >= size and step % size == 0)
    places = range(int(seconds // step) + 1)
    return [(step * place, f"{step * place / size:g} {unit}" if place else "0") for place in places]


def span(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> span(0.25), span(75), span(7200), span(100_000)
    ('0.25 s', '1 min 15 s', '2 h', '1 d 3 h')
    """
    if seconds < 10:
        return f"{seconds:.2g} s"
    for (size, unit), (less, smaller) in pairwise(_UNITS):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            left = int(rest // less)
            return f"{whole:.0f} {unit}" + (f" {left} {smaller}" if left else "")
    return f"{seconds:.0f} s"


def figure(value: float) -> str:
    """A figure as short as it can be read.

    >>> figure(12345), figure(2.5), figure(0.00123)
    ('12,345', '2.5', '0.0012')
    """
    if value == 0 or value >= 100:
        return f"{value:,.0f}"
    if value >= 0.1:
        return f"{value:.3g}"
    # Without an exponent, which few people read.
    places = next(places for places in count(2) if round(value, places) >= 10.0 ** (1 - places) or places > 9)
    return f"{value:.{places}f}".rstrip("0").rstrip(".")
