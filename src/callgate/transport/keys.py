"""API keys: read from arguments or environment variables, and hidden in `repr`, logs and stored settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, SupportsIndex

from callgate.errors import ConfigurationError

__all__ = [
    "ENVIRONMENT",
    "Hidden",
    "HiddenBytes",
    "Secret",
    "check_key_variable",
    "hide",
    "hide_secrets",
    "hide_user",
    "is_surely_a_name",
    "key_variable",
    "read_key",
    "read_set",
    "without_secrets",
]

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
# No key matches this, so that a message may show it: capitals with underscores, or words such as "my_key".
_SURELY_A_NAME = re.compile(
    r"[A-Z][A-Z0-9]{0,15}(_[A-Z0-9]{1,16})+|(?=.*(key|token))[A-Za-z_]{1,40}", re.ASCII
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_NAME = re.compile(r"auth|cert|cookie|credential|key|pass|secret|token|account", re.IGNORECASE)
# Narrower, for settings that are written to a file: `max_tokens` and `api_key_env` are kept. A service
# account is an object or JSON text, and holds a key.
_SECRET_SETTING = re.compile(
    r"(^|[_-])(key|secret|token|password|credentials?|auth|authorization|service_account)$", re.IGNORECASE
)
# What keys of providers begin with: such a string is one under whatever name it was given.
_SURELY_A_KEY = re.compile(
    r"(?:[\w-]+: )?(?:(?:Bearer|Basic) \S+|sk-[\w-]{12,}|(?:gsk_|hf_|nvapi-|pplx-|AIza|AKIA|ASIA)[\w-]{16,})"
)
_WITH_MORE = re.compile(r"://[^@?#]*[@?#]")
_NOT_IN_A_KEY = re.compile(r"[\r\n\0]")
_MASK: Final = "'***'"


class Secret(Protocol):
    """A string that its `repr` does not show; pydantic's `SecretStr` is one."""

    def get_secret_value(self) -> str:
        """The string."""
        ...


class Hidden(str):
    """A string that works like any other, but whose `repr` does not show it.

    Tracebacks with local variables (rich, Sentry, cgitb) and debuggers show the `repr` of every variable.

    >>> Hidden("sk-12ab"), Hidden("sk-12ab") == "sk-12ab"
    ('***', True)
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return _MASK

    def __getitem__(self, index: SupportsIndex | slice) -> Hidden:
        # Such tools show the beginning of a long text.
        return Hidden(super().__getitem__(index))


class HiddenBytes(bytes):
    """Bytes whose `repr` does not show them, for the head of a request."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"b{_MASK}"


class _Environment(Mapping[str, str]):
    """The environment of the process. Its `repr` shows no variable, because any may hold a key."""

    def __getitem__(self, name: str) -> str:
        value: str = _hidden(os.environ[name], bool(_SECRET_NAME.search(name)))
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(os.environ)

    def __len__(self) -> int:
        return len(os.environ)

    def __repr__(self) -> str:
        return "<environment>"


ENVIRONMENT: Final[Mapping[str, str]] = _Environment()


def hide(value: Any) -> Any:
    """A string as `Hidden`; any other value as it is.

    >>> hide("sk-12ab"), hide(None)
    ('***', None)
    """
    return Hidden(value) if isinstance(value, str) else value


def hide_user(url: Any) -> Any:
    """A URL with a user, a query or a fragment in it as `Hidden`; any other value as it is."""
    return Hidden(url) if isinstance(url, str) and _WITH_MORE.search(url) else url


def hide_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of settings or headers in which every string that may be a secret is `Hidden`.

    Such a string has a name like "api_key" or "Authorization", is in a mapping or sequence with such a name,
    is a URL with a user or a query in it, or begins as the keys of providers do.

    >>> hide_secrets({"api_key": "sk-12ab", "model": "m", "headers": {"X-Api-Key": "k"}})
    {'api_key': '***', 'model': 'm', 'headers': {'X-Api-Key': '***'}}
    """
    return {name: _hidden(value, bool(_SECRET_NAME.search(str(name)))) for name, value in settings.items()}


def _hidden(value: Any, is_secret: bool) -> Any:
    if isinstance(value, str):
        return Hidden(value) if is_secret or _SURELY_A_KEY.fullmatch(value) else hide_user(value)
    if isinstance(value, Mapping):
        return (
            {name: _hidden(inner, True) for name, inner in value.items()}
            if is_secret
            else hide_secrets(value)
        )
    if is_secret and type(value) in (tuple, list):
        return type(value)(_hidden(inner, True) for inner in value)
    return value


def without_secrets(settings: Mapping[str, Any], *, deep: bool = False) -> dict[str, Any]:
    """A copy of settings, ready for JSON, without those whose name is that of a secret.

    A proxy loses its user and password, a client certificate the password of its key.

    Args:
        settings: By name.
        deep: Also in mappings among the values. Not for defaults of requests: a JSON schema may have a
            property with the name of a secret.

    >>> without_secrets({"api_key": "k", "proxy": "http://u:p@proxy", "max_tokens": 5})
    {'proxy': 'http://proxy', 'max_tokens': 5}
    """
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "proxy" and isinstance(value, str):
            kept[name] = re.sub(r"//[^/]*@", "//", value)
        elif deep and isinstance(value, Mapping):
            kept[name] = without_secrets(value, deep=True)
        elif name == "client_cert" and isinstance(value, tuple | list):
            kept[name] = list(map(os.fspath, value[:2]))  # a third part is the password
        elif not _SECRET_SETTING.search(str(name)):
            kept[name] = os.fspath(value) if isinstance(value, Path) else value
    return kept


def key_variable(api_key: Secret | str | None, environ: Mapping[str, str] = ENVIRONMENT) -> str | None:
    """The environment variable that `api_key` names; None if it is a key.

    A string of capitals, digits and underscores is a name; without an underscore only if that variable is
    set, because local servers take "EMPTY" as a key. A `SecretStr` is always a key.

    >>> key_variable("OPENAI_API_KEY"), key_variable("sk-12ab"), key_variable("EMPTY", {})
    ('OPENAI_API_KEY', None, None)
    """
    if not isinstance(api_key, str):
        return None
    name = api_key.strip()
    if _VARIABLE.fullmatch(name) and ("_" in name or name in environ):
        return str(name)
    return None


def is_surely_a_name(name: str | None) -> bool:
    """True if a text is the name of a variable and cannot be a key, so that it may be shown.

    >>> is_surely_a_name("OPENAI_API_KEY"), is_surely_a_name("AKIAIOSFODNN7EXAMPLE")
    (True, False)
    """
    return name is None or bool(_SURELY_A_NAME.fullmatch(name))


def check_key_variable(name: str) -> str:
    """The name of an environment variable that holds a key, checked.

    Raises:
        ConfigurationError: `name` is not a valid name. It may be a key by mistake, so the message does not
            show it.

    >>> check_key_variable("OPENAI_API_KEY")
    'OPENAI_API_KEY'
    """
    name = Hidden(name.strip())
    if not _IDENTIFIER.fullmatch(name):
        raise ConfigurationError(
            "api_key_env must be the name of an environment variable, and is none; it may be the key itself",
            setting="api_key_env",
        )
    return str(name)


def read_key(
    api_key: Secret | str | None,
    environ: Mapping[str, str] = ENVIRONMENT,
    *,
    what: str = "this endpoint",
    variable: str | None = None,
) -> str | None:
    """The key, without white space around it; None if there is none.

    Args:
        api_key: A key, or the name of an environment variable as `key_variable` recognises it.
        environ: The environment variables.
        what: The owner of the key, for the message.
        variable: The name of the environment variable with the key; it overrides `api_key`.

    Raises:
        ConfigurationError: the variable is not set or empty, or the key has several lines.

    >>> read_key("MY_KEY", {"MY_KEY": "sk-12ab"})
    '***'
    """
    name = key_variable(api_key, environ) if variable is None else check_key_variable(variable)
    if name is None:
        if api_key is None:
            return None
        given = Hidden((api_key if isinstance(api_key, str) else api_key.get_secret_value()).strip())
        _check_key(given, f"the key of {what}", "api_key")
        return given
    key = read_set(name, environ)
    if key is None:
        shown = name if is_surely_a_name(name) else "that is named (not shown: it may be a key)"
        raise ConfigurationError(
            f"{what} reads its key from the environment variable {shown}, which is not set",
            setting="api_key_env",
        )
    return key


def read_set(variable: str, environ: Mapping[str, str] = ENVIRONMENT) -> str | None:
    """The key in an environment variable, without white space around it; None if it is not set or empty.

    Raises:
        ConfigurationError: the key has several lines.

    >>> read_set("MY_KEY", {"MY_KEY": "sk-12ab "}), read_set("MY_KEY", {"MY_KEY": " "})
    ('***', None)
    """
    key = Hidden(environ.get(variable, "").strip())
    shown = variable if is_surely_a_name(variable) else "that holds the key"
    _check_key(key, f"the environment variable {shown}", "api_key_env")
    return key or None


def _check_key(key: Hidden, where: str, setting: str) -> None:
    if _NOT_IN_A_KEY.search(key):
        raise ConfigurationError(
            f"{where} holds a line break or NUL; a key is one line (several keys: one variable for each)",
            setting=setting,
        )
