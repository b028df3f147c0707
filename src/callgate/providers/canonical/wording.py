"""Errors that only their words tell from others: no status and no code does."""

from __future__ import annotations

import re

from callgate.errors import (
    APIClientError,
    ContentFilterError,
    ContextLengthError,
    QuotaExhaustedError,
    RateLimitError,
    ResourceNotFoundError,
)

__all__ = ["kind_of_refusal", "kind_of_wording"]

_TOO_LONG = re.compile(
    r"(?:prompt|input) is too long"
    r"|exceed(?:s|ed)? (?:the )?(?:model's |model |available )?(?:context|maximum|token)"
    r" (?:limit|window|length|number|size)"
    r"|too many (?:input )?tokens|(?:context|prompt) (?:size|length|window|limit)"
    r"|maximum (?:context|input|prompt|number of) .*(?:length|tokens?)|input tokens? exceed"
    r"|input (?:context|token count).*(?:too long|exceed|only supports up to)"
    r"|longer than the (?:maximum model|model's context) length|too large for model with"
    r"|must have less than \d+ tokens|`?max_new_tokens`? must be <=",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(
    r"credit balance is too low|usage limits?\b.*\bregain access|insufficient (?:account )?balance|in arrears"
    r"|in good standing|used all available credits|any credits yet|account (?:is )?suspended"
    r"|(?:exceed|reach)(?:ed|ing|s)? (?:its |your |the |a )?(?:\w+ )?spend(?:ing)? (?:limit|cap)",
    re.IGNORECASE,
)
_BLOCKED = re.compile(r"content filter|blocked by|violates? .*polic", re.IGNORECASE)
_THROTTLED = re.compile(
    r"\brate[- ]limit(?:s|ed)?\b.{0,20}\b(?:exceeded|reached)|exceed(?:ed)? .{0,20}\brate[- ]limit"
    r"|out of call volume quota|request was throttled",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"is not a valid model|model identifier is invalid|model id .*(?:not found|does not exist)", re.IGNORECASE
)


def kind_of_refusal(message: str) -> type[APIClientError] | None:
    """The class of an invalid request by its message; None for any other.

    >>> kind_of_refusal("prompt is too long: 210000 tokens > 200000 maximum").__name__
    'ContextLengthError'
    """
    return kind_of_wording(message) or (ContentFilterError if _BLOCKED.search(message) else None)


def kind_of_wording(message: str) -> type[APIClientError] | None:
    """The class of an error by words that mean the same whatever its status; None for any other.

    >>> kind_of_wording("Your account is in arrears").__name__
    'QuotaExhaustedError'
    """
    if _NO_CREDIT.search(message):
        return QuotaExhaustedError
    if _THROTTLED.search(message):
        return RateLimitError
    if _TOO_LONG.search(message):
        return ContextLengthError
    return ResourceNotFoundError if _NO_MODEL.search(message) else None
