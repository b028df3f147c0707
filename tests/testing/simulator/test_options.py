"""The simulator's options: errors name the option and the closest valid value."""

from __future__ import annotations

import pytest

from callgate.testing.simulator import Options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"requests_per_minute": 0}, "requests_per_minute must be above 0"),
        ({"faults": {"50": 0.1}}, "did you mean '503'"),
        ({"faults": {"500": 2}}, "0 to 1"),
        ({"faults": {"500": 0.6, "503": 0.6}}, "add up"),
        ({"window": "slide"}, "did you mean 'sliding'"),
        ({"retry_after": "second"}, "did you mean 'seconds'"),
        ({"cached_share": 2}, "cached_share"),
        ({"latency": -1}, "latency must not be negative"),
    ],
)
def test_an_invalid_value_is_an_error_that_names_the_option(options, said):
    with pytest.raises(ValueError, match=said):
        Options(**options)


def test_an_unknown_option_suggests_the_closest_name():
    with pytest.raises(TypeError, match="did you mean requests_per_minute"):
        Options.of(request_per_minute=3)
