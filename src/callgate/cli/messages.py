"""Errors as the command line words them: one line, with options in the place of Python keywords."""

from __future__ import annotations

from callgate.batch.display import text
from callgate.batch.options import option_for
from callgate.errors import CallgateError

__all__ = ["explain", "one_line"]


def explain(error: BaseException) -> str:
    """What happened and which option to change.

    >>> explain(CallgateError("no answer within 60 s", setting="timeout", remedy="raise"))
    'no answer within 60 s; raise --timeout'
    """
    if not isinstance(error, CallgateError):
        return str(error) or type(error).__name__
    option = option_for(error.setting)
    message = error.explain(option) or type(error).__name__
    return f"{message} ({option})" if option is not None and error.remedy is None else message


def one_line(error: BaseException) -> str:
    """`explain` in one line that fits a terminal.

    >>> one_line(ValueError("no\\n   key"))
    'no key'
    """
    return text.one_line(explain(error))
