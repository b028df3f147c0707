"""`callgate.testing` offers its names lazily."""

from __future__ import annotations

import subprocess
import sys

import pytest

import callgate.testing


@pytest.mark.parametrize("name", callgate.testing.__all__)
def test_every_public_name_is_there(name):
    assert getattr(callgate.testing, name).__name__ == name
    assert name in dir(callgate.testing)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="Simulatr"):
        _ = callgate.testing.Simulatr


def test_the_clock_loads_no_server():
    code = "import sys; from callgate.testing import VirtualClock; print('httptools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
