"""Checks a JSON body against the TypedDicts that an official SDK declares for it, strictly.

A type checker would accept more than a provider does, and pydantic ignores keys that a TypedDict lacks. Here
a key that the type does not declare is a problem, as it is at most providers.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, Union

import typing_extensions as te

__all__ = ["problems_of"]

_SHORTEST_EXCERPT = 80
_WRAPPERS = (te.Annotated, te.Required, te.NotRequired, te.ReadOnly)


def problems_of(declared: Any, value: Any, where: str = "body") -> list[str]:
    """What is wrong with `value` as an instance of `declared`, a line each; empty when nothing is.

    >>> class Point(te.TypedDict):
    ...     x: te.Required[int]
    >>> problems_of(Point, {"x": 1, "y": 2}), problems_of(Point, {})
    (["body: 'y' is not a field of Point"], ["body: 'x' is missing (Point)"])
    """
    declared = _unwrapped(declared)
    if declared is Any or declared is object:
        return []
    if te.is_typeddict(declared):
        return _problems_of_object(declared, value, where)
    origin = te.get_origin(declared)
    if origin in (Union, types.UnionType):
        return _problems_of_union(te.get_args(declared), value, where)
    if origin in (Literal, te.Literal):
        allowed = te.get_args(declared)
        return [] if value in allowed else [f"{where}: {_excerpt(value)} is none of {allowed}"]
    if declared is None or declared is type(None):
        return [] if value is None else [f"{where}: {_excerpt(value)} is not null"]
    if origin in (dict, Mapping) or _is_mapping(origin):
        if not isinstance(value, dict):
            return [f"{where}: {_excerpt(value)} is not an object"]
        _, inner = te.get_args(declared)
        return [line for key, item in value.items() for line in problems_of(inner, item, f"{where}.{key}")]
    if origin is not None:  # list, Iterable, Sequence and the SDKs' own protocols of sequences
        if not isinstance(value, list):
            return [f"{where}: {_excerpt(value)} is not a list"]
        (inner, *_) = te.get_args(declared)
        return [line for at, item in enumerate(value) for line in problems_of(inner, item, f"{where}[{at}]")]
    return _problems_of_scalar(declared, value, where)


def _problems_of_object(declared: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: {_excerpt(value)} is not an object ({declared.__name__})"]
    fields = _fields(declared)
    problems = [
        f"{where}: {name!r} is not a field of {declared.__name__}" for name in value if name not in fields
    ]
    problems += [
        f"{where}: {name!r} is missing ({declared.__name__})"
        for name, field in fields.items()
        if name not in value and _is_required(declared, name, field)
    ]
    for name, item in value.items():
        if name in fields:
            problems += problems_of(fields[name], item, f"{where}.{name}")
    return problems


def _problems_of_union(members: Iterable[Any], value: Any, where: str) -> list[str]:
    """Nothing when one member fits, else the problems of the member that is nearest."""
    found = [problems_of(member, value, where) for member in _by_tag(members, value)]
    # A problem inside the value means that its kind was right.
    return min(
        found, key=lambda problems: (sum(line.startswith(f"{where}: ") for line in problems), problems)
    )


def _by_tag(members: Iterable[Any], value: Any) -> list[Any]:
    """The members whose `type` or `role` is that of the value; all of them when none is."""
    flat = [_unwrapped(member) for member in members]
    if isinstance(value, dict):
        for tag in ("role", "type"):
            chosen = [
                member
                for member in flat
                if te.is_typeddict(member)
                and tag in _fields(member)
                and value.get(tag) in te.get_args(_unwrapped(_fields(member)[tag]))
            ]
            if chosen and tag in value:
                return chosen
    return flat


def _problems_of_scalar(declared: Any, value: Any, where: str) -> list[str]:
    fits = {
        str: isinstance(value, str),
        bool: isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool),
        float: isinstance(value, int | float) and not isinstance(value, bool),
        dict: isinstance(value, dict),
        list: isinstance(value, list),
    }
    if declared not in fits:
        return [] if isinstance(value, dict) else [f"{where}: {_excerpt(value)} is no {declared}"]
    return [] if fits[declared] else [f"{where}: {_excerpt(value)} is no {declared.__name__}"]


def _is_required(declared: Any, name: str, field: Any) -> bool:
    # `__required_keys__` misses a Required in a module of postponed annotations, as the SDKs' are.
    marker = te.get_origin(field)
    if marker in (te.Required, te.NotRequired):
        return marker is te.Required
    return name in declared.__required_keys__


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _unwrapped(declared: Any) -> Any:
    """The type without what only annotates it."""
    while True:
        if isinstance(declared, te.TypeAliasType):
            declared = declared.__value__
        elif te.get_origin(declared) in _WRAPPERS:
            declared = te.get_args(declared)[0]
        else:
            return declared


@cache
def _fields(declared: Any) -> dict[str, Any]:
    return te.get_type_hints(declared, include_extras=True)


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHORTEST_EXCERPT else text[:_SHORTEST_EXCERPT] + "..."
