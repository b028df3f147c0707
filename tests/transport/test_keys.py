"""Keys are found, stripped of blanks, and shown by no repr."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from callgate.errors import ConfigurationError
from callgate.transport.keys import (
    ENVIRONMENT,
    Hidden,
    HiddenBytes,
    hide,
    hide_secrets,
    key_variable,
    read_key,
)

KEY = "sk-CANARY-7f3a9b21c4"


def test_a_hidden_text_is_a_string_that_shows_nothing() -> None:
    hidden = Hidden(KEY)
    assert hidden == KEY
    assert f"Bearer {hidden}" == f"Bearer {KEY}"
    assert orjson.loads(orjson.dumps([hidden])) == json.loads(json.dumps([hidden])) == [KEY]
    shown = repr(hidden) + repr([hidden]) + repr({"a": hidden}) + repr(hidden[:12]) + repr(hidden[2])
    assert "CANARY" not in shown
    assert "CANARY" not in repr(HiddenBytes(KEY.encode()))


def test_secrets_are_hidden_wherever_they_stand_in_settings() -> None:
    settings = {
        "api_key": KEY,
        "client_kwargs": {"secret_key": KEY, "client_cert": ("a.pem", "b.pem", KEY)},
        "headers": {"Authorization": KEY, "X-Api-Key": KEY},
        "auth": ("user", KEY),
        "proxy": f"http://user:{KEY}@proxy.example",
        "service_account": {"private_key": KEY, "inner": {"token": KEY}},
        "password": KEY,
    }
    hidden = hide_secrets(settings)
    assert hidden == settings
    assert KEY not in repr(hidden)


def test_what_is_no_secret_stays_as_it_is() -> None:
    settings: dict[str, Any] = {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"content": "my key"}],
        "key": None,
    }
    assert repr(hide_secrets(settings)) == repr(settings)
    assert hide(5) == 5


def test_the_environment_shows_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    assert ENVIRONMENT["SOME_API_KEY"] == KEY
    assert KEY not in repr(ENVIRONMENT) + repr(ENVIRONMENT.get) + repr([ENVIRONMENT["SOME_API_KEY"]])
    assert "SOME_API_KEY" in ENVIRONMENT
    assert len(list(ENVIRONMENT)) == len(ENVIRONMENT)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("sk-12ab", "sk-12ab"),
        (" sk-12ab\n", "sk-12ab"),
        ("EMPTY", "EMPTY"),
        ("NONE", "NONE"),
        (SecretStr("MY_KEY"), "MY_KEY"),
        ("MY_KEY", KEY),
        ("MY_KEY\n", KEY),
        ("PADDED_KEY", KEY),
        ("SETKEY", KEY),
        (None, None),
    ],
)
def test_a_key_is_given_or_named(given: Any, key: str | None) -> None:
    environ = {"MY_KEY": KEY, "PADDED_KEY": f"  {KEY}\r\n", "SETKEY": KEY}
    assert read_key(given, environ) == key


@pytest.mark.parametrize("variable", ["MY_KEY", "my_key", "lowercase"])
def test_a_variable_may_have_any_name_when_it_is_said_to_be_one(variable: str) -> None:
    assert read_key(None, {variable: KEY}, variable=variable) == KEY


@pytest.mark.parametrize(
    ("variable", "shown"),
    [
        ("OPENAI_API_KEY", True),
        ("my_api_key", True),
        (KEY, False),
        ("sk_live_51HABCDEF", False),
        ("AKIAIOSFODNN7EXAMPLE", False),
        ("gsk7f3a9b21c4d5e6", False),
    ],
)
def test_a_variable_that_may_be_a_key_is_not_shown(variable: str, shown: bool) -> None:
    """A key is easily typed where its variable is asked for."""
    with pytest.raises(ConfigurationError) as caught:
        read_key(None, {}, variable=variable)
    assert (variable in str(caught.value)) is shown
    assert caught.value.setting == "api_key_env"


def test_an_empty_variable_is_as_good_as_none() -> None:
    with pytest.raises(ConfigurationError, match="MY_KEY, which is not set"):
        read_key("MY_KEY", {"MY_KEY": " "})


def test_a_name_of_capitals_is_a_variable_only_with_an_underscore_or_when_it_is_set() -> None:
    assert key_variable("EMPTY", {}) is None
    assert key_variable("EMPTY", {"EMPTY": "x"}) == "EMPTY"
    assert key_variable("A_B", {}) == "A_B"


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ("MY_KEY", "the environment variable MY_KEY"),
        (KEY + "\nsk-2", "the key of the endpoint"),
        (SecretStr("a\0b"), "the key"),
    ],
)
def test_a_key_of_several_lines_is_refused_with_the_name_of_its_variable(given: Any, where: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{where}.* holds a line break or NUL") as caught:
        read_key(given, {"MY_KEY": f"{KEY}\n{KEY}\n"}, what="the endpoint 'openai'")
    assert KEY not in str(caught.value)
    assert read_key("MY_KEY", {"MY_KEY": f"{KEY}\n"}) == KEY
