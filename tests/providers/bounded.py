"""What a dialect bounds and bills, for its tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.headers import merge_headers
from callgate.providers.canonical.billing import Billing, CostBound
from callgate.providers.canonical.json import write_json
from callgate.providers.dialect import Dialect

IMAGE = 50_000
PNG = "data:image/png;base64,"
TEXT = {"type": "text", "text": "What is this?"}


def bound_of(
    dialect: Dialect, headers: Mapping[str, str] | None = None, path: str | None = None, **request: Any
) -> CostBound:
    """The bound of a request, by default of one short message with at most 1,000 tokens of answer."""
    given = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 1000, **request}
    wire = dialect.encode({name: value for name, value in given.items() if value is not None}, path=path)
    return dialect.bound(wire, merge_headers(wire.headers, headers))


def input_of(dialect: Dialect, *parts: Any, **request: Any) -> int:
    """The most tokens that parts of a message can have, beyond those of an empty text."""
    with_parts = bound_of(dialect, **request, messages=[{"role": "user", "content": [TEXT, *parts]}])
    without = bound_of(dialect, **request, messages=[{"role": "user", "content": [TEXT]}])
    return with_parts.input_tokens - without.input_tokens


def billing_of(
    dialect: Dialect,
    answer: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    request: Mapping[str, Any] | None = None,
) -> Billing:
    """How an answer is billed."""
    return dialect.billing(dialect.decode(write_json(answer), headers or {}), request or {})
