"""Where a key comes from: given as it is, or read from the environment variable that was named."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Protocol

from callgate.errors import ConfigurationError

__all__ = ["Secret", "key_variable", "read_key"]

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


class Secret(Protocol):
    """A string that does not show itself; pydantic's `SecretStr` is one."""

    def get_secret_value(self) -> str:
        """The string."""
        ...


def key_variable(api_key: Secret | str | None) -> str | None:
    """The environment variable that `api_key` names, or None when it is a key itself.

    A plain string of capitals, digits and underscores is a name; a `SecretStr` is always a key.

    >>> key_variable("OPENAI_API_KEY"), key_variable("sk-12ab")
    ('OPENAI_API_KEY', None)
    """
    if isinstance(api_key, str) and _VARIABLE.fullmatch(api_key):
        return api_key
    return None


def read_key(
    api_key: Secret | str | None, environ: Mapping[str, str] | None = None, *, what: str = "this endpoint"
) -> str | None:
    """The key itself: read from the environment when `api_key` names a variable. None stays None.

    Args:
        api_key: A key, or the name of an environment variable.
        environ: Where to look; the process's environment unless given.
        what: Whose key it is, for the message.

    Raises:
        ConfigurationError: the variable is not set, or empty.

    >>> read_key("MY_KEY", {"MY_KEY": "sk-12ab"})
    'sk-12ab'
    """
    if api_key is None:
        return None
    if not isinstance(api_key, str):
        return api_key.get_secret_value()
    name = key_variable(api_key)
    if name is None:
        return api_key
    key = (os.environ if environ is None else environ).get(name)
    if not key:
        raise ConfigurationError(
            f"{what} takes its key from the environment variable {name}, which is not set"
        )
    return key
