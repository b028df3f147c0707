"""The examples in docstrings pass, in every module."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import callgate

# Importing it runs the command.
_PROGRAMS = {"callgate.__main__"}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(callgate.__path__, "callgate.")
    if module.name not in _PROGRAMS
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
