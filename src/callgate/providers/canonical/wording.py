"""Refusals that only their words tell from other invalid requests: no status and no code does."""

from __future__ import annotations

import re

from callgate.errors import APIClientError, ContentFilterError, ContextLengthError, QuotaExhaustedError

__all__ = ["kind_of_refusal"]

_TOO_LONG = re.compile(
    r"(?:prompt|input) is too long"
    r"|exceeds? (?:the )?(?:model's )?(?:context|maximum) (?:limit|window|length|number)"
    r"|too many (?:input )?tokens|(?:context|prompt) (?:size|length|window|limit)"
    r"|maximum (?:context|input|number of) .*(?:length|tokens?)|input tokens? exceed"
    r"|input (?:context|token count).*(?:too long|exceed)",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(r"credit balance is too low|usage limits?\b.*\bregain access", re.IGNORECASE)
_BLOCKED = re.compile(r"content filter|blocked by|violates? .*polic", re.IGNORECASE)


def kind_of_refusal(message: str) -> type[APIClientError] | None:
    """The class of an invalid request by its message; None for any other.

    >>> kind_of_refusal("prompt is too long: 210000 tokens > 200000 maximum").__name__
    'ContextLengthError'
    """
    if _TOO_LONG.search(message):
        return ContextLengthError
    if _NO_CREDIT.search(message):
        return QuotaExhaustedError
    return ContentFilterError if _BLOCKED.search(message) else None
