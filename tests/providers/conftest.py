"""Gives the tests of `conformance` the recorded cases of the dialect they are about."""

from __future__ import annotations

import pytest

from tests.providers.conformance import KINDS, DialectConformance
from tests.providers.recorded_cases import read_cases


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each conformance test that asks for a case the cases of its kind."""
    if metafunc.cls is None or not issubclass(metafunc.cls, DialectConformance):
        return
    for kind in KINDS:
        if f"{kind}_case" in metafunc.fixturenames:
            metafunc.parametrize(f"{kind}_case", read_cases(metafunc.cls.recorded, kind), ids=str)
