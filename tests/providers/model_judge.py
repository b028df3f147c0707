"""Checks a JSON body against the pydantic model that an official SDK sends, strictly.

The SDKs' models ignore fields they do not know and keep values they do not know as such. Here both are
problems, as they are at most providers.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

__all__ = ["problems_of_model"]


def problems_of_model(model: type[BaseModel], body: dict[str, Any]) -> list[str]:
    """What is wrong with `body` as an instance of `model`, a line each; empty when nothing is."""
    try:
        read = model.model_validate(body)
    except ValidationError as error:
        return [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
    sent = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return _lost(body, sent, "body")


def _lost(given: Any, sent: Any, where: str) -> list[str]:
    if isinstance(given, dict) and isinstance(sent, dict):
        if sent.get("is_unknown") is True:
            return [f"{where}: of an unknown type"]
        lines = [f"{where}: {name!r} is not a field" for name in given if name not in sent]
        for name in given.keys() & sent.keys():
            lines += _lost(given[name], sent[name], f"{where}.{name}")
        return lines
    if isinstance(given, list) and isinstance(sent, list):
        if len(given) != len(sent):
            return [f"{where}: {len(given)} items became {len(sent)}"]
        pairs = enumerate(zip(given, sent, strict=True))
        return [line for at, (one, other) in pairs for line in _lost(one, other, f"{where}[{at}]")]
    return [] if given == sent else [f"{where}: {given!r} became {sent!r}"]
