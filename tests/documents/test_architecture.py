"""`docs/architecture.md` names paths that exist, and shows the layers in the order of `pipeline.py`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from callgate.pipeline import LayerName

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "callgate"
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PICTURE, TREE = re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def is_in_each_dialect(name: str) -> bool:
    """True for a file that a text names without the dialect's folder, as in "`bounds.py` in each package"."""
    return "/" not in name and (SOURCE / "providers" / "openai_chat" / name).exists()


def test_paths_in_the_text_exist() -> None:
    named = re.findall(r"`([\w/]+(?:/|\.py))`", TEXT)
    assert len(named) > 20
    missing = [path for path in named if not ((SOURCE / path).exists() or is_in_each_dialect(path))]
    assert missing == []


def test_the_tree_names_each_package_and_no_other() -> None:
    shown = re.findall(r"^  (\w+)/ ", TREE, re.MULTILINE)
    packages = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
    assert sorted(shown) == packages


def test_the_picture_shows_the_layers_in_the_order_of_the_pipeline() -> None:
    rows = re.findall(r"^ {2}(?:once per \w+)? *(\w+) {2,}", PICTURE, re.MULTILINE)
    assert [row for row in rows if row in get_args(LayerName)] == list(get_args(LayerName))
