"""Errors as the command line words them: one line, with options in the place of Python keywords."""

from __future__ import annotations

from callgate.batch.options import option_for
from callgate.errors import CallgateError

__all__ = ["explain", "one_line"]

_LONGEST = 300


def explain(error: BaseException) -> str:
    """What happened and which option to change.

    >>> explain(CallgateError("no answer within 60 s", setting="timeout", remedy="raise"))
    'no answer within 60 s; raise --timeout'
    """
    if not isinstance(error, CallgateError):
        return str(error) or type(error).__name__
    option = option_for(error.setting)
    text = error.explain(option) or type(error).__name__
    return f"{text} ({option})" if option is not None and error.remedy is None else text


def one_line(error: BaseException) -> str:
    """`explain` in one line that fits a terminal.

    >>> one_line(ValueError("no\\n   key"))
    'no key'
    """
    text = " ".join(explain(error).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
