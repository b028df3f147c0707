"""The public names: all there, lazily imported, known to type checkers, and frozen."""

import ast
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path

import pytest

import callgate
from callgate.batch import providers as batch_providers
from tests.public_surface import FILE, render, signature_of

SOURCE = Path(callgate.__file__)


@pytest.mark.parametrize("name", callgate.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(callgate, name)
    if name not in ("Layer", "Service") and not isinstance(value, str):  # aliases of types have none
        assert (value.__doc__ or "").strip(), f"{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = callgate.nonesuch  # type: ignore[attr-defined]


def test_dir_lists_the_public_names() -> None:
    assert set(callgate.__all__) <= set(dir(callgate))
    assert not {"Any", "TYPE_CHECKING", "import_module"} & set(dir(callgate))


def test_type_checkers_see_exactly_what_is_exported() -> None:
    tree = ast.parse(SOURCE.read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    # By `__getattr__`, which a checker takes for Any; the names come from here.
    where = seen.pop("providers")
    assert where == ("callgate.batch", "providers")
    assert set(batch_providers.__all__) < set(dir(callgate.providers))
    assert all(renamed == name for renamed, (_, name) in seen.items())
    assert {name: module for name, (module, _) in seen.items()} == {
        name: f"callgate.{module}" for name, module in callgate._HOME_OF.items()
    }


def test_importing_callgate_imports_nothing_heavy() -> None:
    heavy = ("pydantic", "pyreqwest", "orjson", "apsw", "rich", "typer", "genai_prices", "uvloop", "asyncio")
    program = f"import sys, callgate; print([name for name in {heavy!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_the_public_surface_is_frozen() -> None:
    # A name or parameter that goes away breaks programs, and a new one is a promise.
    changes = unified_diff(
        FILE.read_text().splitlines(), render().splitlines(), "promised", "found", lineterm="", n=1
    )
    text = "\n".join(changes)
    assert not text, f"{text}\nIf this is on purpose: python -m tests.public_surface writes {FILE.name} anew."


def test_a_changed_parameter_changes_the_rendered_surface() -> None:
    def function(value: int, *, limit: float = 1.0) -> str: ...

    assert signature_of(function) == "(value: int, *, limit: float = 1.0) -> str"
