"""The examples in the docstrings of the mechanisms run as they stand."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import callgate.control
import callgate.testing.clock

MODULES = [f"callgate.control.{module.name}" for module in pkgutil.iter_modules(callgate.control.__path__)]


@pytest.mark.parametrize("name", [*MODULES, callgate.testing.clock.__name__])
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
