"""Exception classes as names: they round-trip, and reading a name imports nothing."""

from __future__ import annotations

import json
import sys

import pytest

from callgate.errors import ConfigurationError, ServerError
from callgate.exception_names import from_names, to_names


class OuterError(Exception):
    class InnerError(Exception):
        pass


@pytest.mark.parametrize(
    "kind", [KeyError, ServerError, json.JSONDecodeError, OuterError, OuterError.InnerError]
)
def test_exception_names_round_trip(kind: type[BaseException]) -> None:
    assert from_names(to_names([kind])) == (kind,)


@pytest.mark.parametrize(
    "name", ["NoSuchError", "print", "int", "json:dumps", "json.decoder:Nothing.at_all", ":", ""]
)
def test_a_name_that_is_not_an_exception_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="names no exception class"):
        from_names([name])


def test_nothing_is_imported_for_a_name() -> None:
    assert "antigravity" not in sys.modules
    with pytest.raises(ConfigurationError, match="import its module first"):
        from_names(["antigravity:SomeError"])
    assert "antigravity" not in sys.modules
