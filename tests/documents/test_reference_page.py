"""The reference page has every public name, once."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import callgate

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
_SECOND_NAMES = {"NetworkRequestEvent"}  # of a Calling


def test_every_public_name_stands_on_it_once() -> None:
    named = re.findall(r"^::: callgate\.(\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    public = {name for name in dir(callgate) if not name.startswith("_")} - _SECOND_NAMES
    assert sorted(named) == sorted(
        name for name in public if not isinstance(getattr(callgate, name), ModuleType)
    )
