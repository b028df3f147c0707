"""The public names with their signatures, as text. Write it anew after a change on purpose:

.venv/bin/python -m tests.public_surface
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import callgate
from callgate import testing
from callgate.batch import providers

__all__ = ["FILE", "render", "signature_of"]

FILE = Path(__file__).with_name("public_surface.txt")
_Kind = inspect.Parameter
_WIDTH = 90
_SPECIAL = (
    "__aenter__",
    "__aiter__",
    "__anext__",
    "__call__",
    "__enter__",
    "__getitem__",
    "__iter__",
    "__len__",
)


def render() -> str:
    """The names of `callgate`, `callgate.testing` and `callgate.batch.providers`, members indented.

    Members that a class inherits from another public class stand there only.
    """
    modules = (callgate, testing, providers)
    public = {id(getattr(module, name)) for module in modules for name in module.__all__}
    lines: list[str] = []
    for module in modules:
        lines += ["", f"# {module.__name__}"]
        for name in sorted(module.__all__):
            lines += _describe(name, getattr(module, name), public)
    return "\n".join(lines[1:]) + "\n"


def _describe(name: str, value: Any, public: set[int]) -> Iterator[str]:
    if isinstance(value, ModuleType):
        yield f"module {name}"
    elif isinstance(value, type) and value.__name__ != name:
        yield f"class {name} = {value.__name__}"
    elif isinstance(value, type):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {name}{f'({bases})' if bases else ''}"
        yield from (f"    {line}" for line in _members(value, public))
    elif callable(value):
        yield f"def {name}{signature_of(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def _members(kind: type, public: set[int]) -> Iterator[str]:
    """The constructor and the public members, from the class and its bases that are not public themselves."""
    bases = [base for base in kind.__mro__ if base.__module__.startswith("callgate.")]
    own = [base for base in bases if base is kind or id(base) not in public]
    annotations = {
        name: text for base in reversed(own) for name, text in inspect.get_annotations(base).items()
    }
    names = {name for base in own for name in (*vars(base), *annotations)}
    if issubclass(kind, enum.Enum):
        yield from (f"{member.name} = {member.value!r}" for member in kind)
        names -= set(kind.__members__)
    elif not _has_fields_only(kind) and any("__init__" in vars(base) for base in own):
        yield f"__init__{signature_of(kind)}"
    for name in sorted(names - {"model_config"}):
        if name in _SPECIAL or not name.startswith("_"):
            yield _member(kind, name, annotations)


def _has_fields_only(kind: type) -> bool:
    """Whether the constructor follows from the fields: pydantic models; or there is none: protocols."""
    return hasattr(kind, "model_fields") or getattr(kind, "_is_protocol", False)


def _member(kind: type, name: str, annotations: dict[str, Any]) -> str:
    value = inspect.getattr_static(kind, name, None)
    if isinstance(value, property | cached_property):
        getter = value.func if isinstance(value, cached_property) else value.fget
        return f"{name}: {_annotation(inspect.signature(getter).return_annotation)}" if getter else name
    if isinstance(value, classmethod | staticmethod):
        return f"{type(value).__name__} {name}{signature_of(getattr(kind, name))}"
    if inspect.isfunction(value):
        is_async = inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)
        return f"{'async ' if is_async else ''}def {name}{signature_of(value)}"
    return f"{name}: {_annotation(annotations[name])}" if name in annotations else name


def signature_of(value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except ValueError:  # a class written in C
        return ""
    parameters = [_plain(parameter) for parameter in signature.parameters.values()]
    returns = _Text.of(signature.return_annotation)
    signature = signature.replace(parameters=parameters, return_annotation=returns)
    text = str(signature)
    if len(text) <= _WIDTH:
        return text
    # A parameter a line, so that a difference shows which one has changed.
    first, last = text.index("("), text.rindex(")")
    lines = [str(parameter) for parameter in parameters]
    kinds = [parameter.kind for parameter in parameters]
    if _Kind.KEYWORD_ONLY in kinds and _Kind.VAR_POSITIONAL not in kinds:
        lines.insert(kinds.index(_Kind.KEYWORD_ONLY), "*")
    return "\n".join([text[: first + 1], *(f"        {line}," for line in lines), f"    {text[last:]}"])


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    default = parameter.default
    if default is not inspect.Parameter.empty and " at 0x" in repr(default):
        default = _Text("...")
    return parameter.replace(default=default, annotation=_Text.of(parameter.annotation))


def _annotation(annotation: Any) -> str:
    return "?" if annotation is inspect.Parameter.empty else repr(_Text.of(annotation))


class _Text:
    """A text that is written as it is: annotations are strings or types, and both have to read the same."""

    def __init__(self, text: str) -> None:
        self._text = text

    @staticmethod
    def of(annotation: Any) -> Any:
        if annotation is inspect.Parameter.empty:
            return annotation
        text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        return _Text(text.strip("'"))

    def __repr__(self) -> str:
        return self._text


if __name__ == "__main__":
    FILE.write_text(render())
