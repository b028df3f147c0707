"""Examples of docstrings as code blocks of the site: those after `Example::`, and those of doctest."""

from __future__ import annotations

import re
from typing import Any

import griffe

_DOCTEST = re.compile(r"(?:^>>> .*\n?)(?:^(?:\.\.\. |>>> |\S).*\n?|^\.\.\.\n)*", re.MULTILINE)
_INDENTED = re.compile(r"^Example::\n\n((?:(?:    .*)?\n)*(?:    .*)?)", re.MULTILINE)


class ExampleBlocks(griffe.Extension):
    """Rewrites each docstring when it has been read from the source."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence the examples of one object."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """The docstring with fences around its examples.

    >>> fenced("Add.\\n\\n>>> 1 + 1\\n2\\n").count("```")
    2
    """
    text = _DOCTEST.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text)
    return _INDENTED.sub(lambda found: f"**Example**\n\n```python\n{_dedented(found[1])}\n```\n", text)


def _dedented(block: str) -> str:
    return "\n".join(line[4:] for line in block.rstrip().splitlines())
