"""Removes credentials from errors and logs.

Some services quote a key that they refuse, botocore logs the request that it signs, and SDKs log headers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from callgate.headers import mask_headers

__all__ = ["SIGNING_UNLOGGED", "LogMask", "redact", "redact_error", "secrets_in"]

_MASK = "***"
# No key is shorter, and removing shorter texts would make messages unreadable.
_SHORTEST = 8
_DEEPEST = 40


def secrets_in(headers: Mapping[str, str]) -> list[str]:
    """The credentials among the headers of a request, without their scheme.

    >>> secrets_in({"authorization": "Bearer sk-12ab34cd", "accept": "*/*"})
    ['sk-12ab34cd']
    """
    masked = mask_headers(headers)
    values = (value for name, value in headers.items() if masked[name] != value)
    bare = (value.partition(" ")[2] or value for value in values)
    return [secret for secret in bare if len(secret) >= _SHORTEST]


def redact(value: Any, secrets: Sequence[str], depth: int = 0) -> Any:
    """The value with every secret replaced by "***", in texts, bytes, and lists and mappings of them.

    At the end of a text, also the first eight or more characters of a secret, as a message may be cut off.

    >>> redact({"error": ["no such key: sk-12ab34cd"]}, ["sk-12ab34cd"])
    {'error': ['no such key: ***']}
    """
    if isinstance(value, str):
        for secret in secrets:
            value = _without_its_beginning(value.replace(secret, _MASK), secret)
    elif isinstance(value, bytes):
        for secret in secrets:
            value = value.replace(secret.encode(), _MASK.encode())
    elif depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {name: redact(inner, secrets, depth + 1) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            inner_values = [redact(inner, secrets, depth + 1) for inner in value]
            return tuple(inner_values) if isinstance(value, tuple) else inner_values
    return value


def _without_its_beginning(text: str, secret: str) -> str:
    """The text without the first characters of a secret at its end.

    >>> _without_its_beginning("no such key: sk-12ab34...", "sk-12ab34cd")
    'no such key: ***...'
    """
    body = text.removesuffix("...")
    for length in range(min(len(secret) - 1, len(body)), _SHORTEST - 1, -1):
        if body.endswith(secret[:length]):
            return body[:-length] + _MASK + text[len(body) :]
    return text


def redact_error(error: BaseException, secrets: Sequence[str]) -> None:
    """Remove the secrets from all texts of an error, its causes and contexts."""
    if not secrets:
        return
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        each.args = redact(each.args, secrets)
        held: dict[str, Any] = getattr(each, "__dict__", {})
        for name, value in held.items():
            if isinstance(value, BaseException):
                waiting.append(value)
            else:
                held[name] = redact(value, secrets)
        waiting += [each.__cause__, each.__context__]


class LogMask(logging.Filter):
    """Removes secrets from the log records of another library, before any handler gets them.

    Args:
        secrets: Texts to remove; shorter ones than eight characters are ignored.

    >>> heard = logging.makeLogRecord({"msg": "x-echo: %s", "args": ("sk-12ab34cd",)})
    >>> LogMask(["sk-12ab34cd"]).filter(heard), heard.getMessage()
    (True, 'x-echo: ***')
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST]

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            said = record.getMessage()
        except Exception:  # a wrong format in the library must not fail a call, nor show the arguments
            return False
        masked = redact(said, self._secrets)
        if masked != said:
            record.msg, record.args = masked, None
        return True


class _Unlogged(threading.local):
    """A context in which botocore does not log the request that it signs, session token included."""

    on = False

    def __enter__(self) -> None:
        self.on = True

    def __exit__(self, *_: object) -> None:
        self.on = False

    def lets_pass(self, record: logging.LogRecord) -> bool:
        return not self.on


SIGNING_UNLOGGED = _Unlogged()
logging.getLogger("botocore.auth").addFilter(SIGNING_UNLOGGED.lets_pass)
