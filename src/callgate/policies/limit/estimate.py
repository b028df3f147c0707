"""Estimates the tokens of a call before it is sent."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Final, Literal

from callgate.errors import ConfigurationError

__all__ = ["ReservationPolicy", "TokenEstimator"]

ReservationPolicy = Literal["input_output", "max_tokens"]

CHARACTERS_PER_TOKEN: Final = 4.0
# The weight of CHARACTERS_PER_TOKEN, in characters of observed input.
PRIOR_CHARACTERS: Final = 4000.0
# The factor by which each call lowers the weight of earlier ones: about the last hundred count.
FADE: Final = 0.99
REMEMBERED_OUTPUTS: Final = 200
OUTPUT_BEFORE_DATA: Final = 256.0


class TokenEstimator:
    """Estimates tokens from the observed tokens per character and the observed length of responses.

    One estimator serves one model. The ratio is an exponential average over about a hundred calls; the output
    is a quantile of the last two hundred. Memory is bounded; a call costs about a microsecond.

    Args:
        quantile: The share of responses that are not longer than estimated, between 0 and 1.

    Raises:
        ConfigurationError: `quantile` is not between 0 and 1.

    >>> estimator = TokenEstimator()
    >>> estimator.estimate(characters=400, max_tokens=50, policy="input_output")
    150.0
    """

    __slots__ = ("_characters", "_outputs", "_quantile", "_sorted", "_tokens")

    def __init__(self, quantile: float = 0.9) -> None:
        if not 0.0 < quantile < 1.0:
            raise ConfigurationError(f"the quantile must be between 0 and 1, not {quantile!r}")
        self._quantile = quantile
        self._characters = PRIOR_CHARACTERS
        self._tokens = PRIOR_CHARACTERS / CHARACTERS_PER_TOKEN
        self._outputs: deque[float] = deque()
        self._sorted: list[float] = []

    def estimate(self, characters: int, max_tokens: int | None, policy: ReservationPolicy) -> float:
        """The estimated tokens of a call, input and output.

        Args:
            characters: Characters of the input.
            max_tokens: The bound on the output in the request, if any.
            policy: What the provider charges to its quota: "max_tokens" the input and the whole bound,
                "input_output" the input and the output that was written.
        """
        if max_tokens is not None and (policy == "max_tokens" or not self._sorted):
            output: float = max_tokens
        elif not self._sorted:
            output = OUTPUT_BEFORE_DATA
        else:
            output = self._sorted[math.ceil(self._quantile * len(self._sorted)) - 1]
            if max_tokens is not None and max_tokens < output:
                output = max_tokens
        return characters * self._tokens / self._characters + output

    def observe(self, characters: int, input_tokens: float | None, output_tokens: float | None) -> None:
        """Learn from the usage of a call. Figures that are None, negative or infinite are ignored."""
        if input_tokens is not None and 0.0 <= input_tokens < math.inf and characters > 0:
            self._characters = self._characters * FADE + characters
            self._tokens = self._tokens * FADE + input_tokens
        if output_tokens is not None and 0.0 <= output_tokens < math.inf:
            outputs, ordered = self._outputs, self._sorted
            outputs.append(output_tokens)
            insort(ordered, output_tokens)
            if len(outputs) > REMEMBERED_OUTPUTS:
                del ordered[bisect_left(ordered, outputs.popleft())]
