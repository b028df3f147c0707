"""What our messages say to who writes Python, said to who writes a command line."""

from __future__ import annotations

__all__ = ["PHRASES", "in_options", "one_line"]

_LONGEST = 300

PHRASES = (
    ("or allow_http=True if that is meant", "or --allow-http if that is meant"),
    ("pass api_key=", "name the variable that holds it: --api-key-env NAME"),
    ("give api_key=, or auth_type='none'", "name the variable that holds it: --api-key-env NAME"),
    ("or give base_url= for a server", "or give --base-url for a server"),
    ("give base_url=, or a provider", "give --base-url, or a provider"),
    ("pass region=, or set", "set"),
    ("; pass these as auth= or a header", "; leave them out"),
    ("; pass model=, or give the iModel one", "; name one: -m PROVIDER/MODEL"),
    ("raise timeout= if", "raise --timeout if"),
    ("callgate waits (max_retry_after=)", "callgate waits (--max-retry-after)"),
    ("raise max_tokens or leave reasoning_effort out", "raise --max-tokens or leave reasoning_effort out"),
    ("the answer was cut off; raise max_tokens", "the answer was cut off; raise --max-tokens"),
    ("or say where it is: command=.", "or put it on your PATH."),
)
"""Whole phrases of ours, each with its place in the text: a provider's own words stay as they are."""


def in_options(message: str) -> str:
    """A message of ours, with the options of the command line in the place of Python's keywords.

    >>> in_options("no answer within 60 s; raise timeout= if the model is slow")
    'no answer within 60 s; raise --timeout if the model is slow'
    """
    for python, option in PHRASES:
        if python in message:
            message = message.replace(python, option)
    return message


def one_line(error: BaseException) -> str:
    """What an error says, in the words of the command line and in one line that fits a terminal.

    >>> one_line(ValueError("no\\n   key"))
    'no key'
    """
    text = " ".join(in_options(str(error) or type(error).__name__).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
