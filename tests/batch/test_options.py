"""The options of a run: read, checked, and turned into the settings of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from callgate.batch.options import (
    RunOptions,
    flags_for,
    model_settings,
    option_for,
    repeats_as,
    specifications,
)
from callgate.errors import ConfigurationError


def options(**given: Any) -> RunOptions:
    return RunOptions(input="in.jsonl", model=("openai/m",), **given)


def test_texts_become_values_and_what_was_not_given_keeps_its_default() -> None:
    given = {
        "input": "in.jsonl",
        "model": ["openai/a, groq/b", "azure/c"],
        "output": "out.jsonl",
        "parameters": ["top_p=0.5", "stop=END", "seed=3"],
        "prices": "0.15,0.6",
        "cache": "answers",
        "cache_ttl": "90m",
        "rpm": 60.0,
        "retries": None,
        "base_url": [],
        "allow_http": False,
    }
    read = RunOptions.from_texts(given)
    assert read.model == ("openai/a", "groq/b", "azure/c")
    assert read.parameters == {"top_p": 0.5, "stop": "END", "seed": 3}
    assert read.prices == {"input": 0.15, "output": 0.6}
    assert (read.cache, read.cache_ttl, read.rpm) == ("answers", 5400.0, 60.0)
    assert (read.retries, read.base_url, read.allow_http, read.sample) == (None, (), False, 0)


def test_named_parameters_of_a_request_win_over_others() -> None:
    read = options(parameters={"top_p": 1, "max_tokens": 5}, max_tokens=10, temperature=0.0)
    assert read.request == {"top_p": 1, "max_tokens": 10, "temperature": 0.0}


@pytest.mark.parametrize(
    ("given", "setting", "message"),
    [
        ({"rpm": 0.0}, "rpm", "rpm must be above 0, got 0"),
        ({"tpm": float("inf")}, "tpm", "tpm must be above 0, got inf"),
        ({"timeout": float("nan")}, "timeout", "timeout must be above 0, got nan"),
        ({"limit": -1}, "limit", "limit must be at least 0, got -1"),
        ({"concurrency": 0}, "concurrency", "concurrency must be at least 1, got 0"),
        ({"cache_ttl": 5.0}, "cache", "cache_ttl needs a cache"),
        ({"sample": 1}, "cache", "sample needs a cache"),
        ({"cache": "c", "no_cache": True, "sample": 1}, "cache", "sample needs a cache"),
    ],
)
def test_a_value_that_cannot_work_names_its_option(given: dict[str, Any], setting: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        options(**given)
    assert (raised.value.setting, str(raised.value)) == (setting, message)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("prices", "1", "prices takes two prices, such as 0.15,0.6, got '1'"),
        ("prices", "1,-2", "prices takes two prices, such as 0.15,0.6, got '1,-2'"),
        ("prices", "1,inf", "prices takes two prices, such as 0.15,0.6, got '1,inf'"),
        ("cache_ttl", "soon", "cache_ttl takes a number and one of s, m, h, d, w, such as 90m, got 'soon'"),
        ("parameters", ["x"], "parameters takes NAME=VALUE, got 'x'"),
        ("parameters", ["sk-0123456789abcdef"], "parameters takes NAME=VALUE, got '***'"),
        ("parameters", [" =1"], "parameters takes NAME=VALUE, got ' =1'"),
    ],
)
def test_a_text_that_cannot_be_read_names_its_option(name: str, text: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        RunOptions.from_texts({"input": "i", "model": ["m"], name: text})
    assert (raised.value.setting, str(raised.value)) == (name, message)


def test_no_cache_turns_a_cache_off() -> None:
    assert options(cache="answers", no_cache=True).cache is None


def test_settings_of_a_model_are_the_options_that_were_given() -> None:
    given = options(
        rpm=60.0, no_bytes_timeout=5.0, retries=0, max_retry_after=30.0, allow_http=True,
        proxy="socks5://h:1", ca_file="ca.pem", client_cert=("cert.pem", "key.pem"),
    )  # fmt: skip
    assert model_settings(given) == {
        "proxy": "socks5://h:1",
        "verify": "ca.pem",
        "client_cert": ("cert.pem", "key.pem"),
        "limit_requests": 60.0,
        "read_timeout": 5.0,
        "retry_config": {"max_retries": 0, "max_retry_after": 30.0},
        "allow_http": True,
    }
    assert model_settings(options(base_url=("http://h",), api_key_env=("KEY",))) == {}


def test_every_option_has_a_help_text_of_one_sentence_and_a_flag_of_its_own() -> None:
    flags = [flag for name in specifications() for flag in flags_for(name)]
    assert len(flags) == len(set(flags))
    for name, (option, kind) in specifications().items():
        assert option.help, name
        assert option_for(name) == flags_for(name)[-1]
        if repeats_as(kind) is not None:
            assert option.read is not None, name


@pytest.mark.parametrize(
    ("setting", "flag"),
    [
        ("limit_requests", "--rpm"),
        ("max_retries", "--retries"),
        ("api_key", "--api-key-env"),
        ("model", "--model"),
        ("region", None),
        (None, None),
    ],
)
def test_a_setting_in_python_has_an_option(setting: str | None, flag: str | None) -> None:
    assert option_for(setting) == flag


def test_a_text_can_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("Translate: {text}\n", encoding="utf-8")
    given = {"input": "i", "model": ["m"], "template": f"@{path}", "system": "@@all: be brief"}
    read = RunOptions.from_texts(given)
    assert (read.template, read.system) == ("Translate: {text}\n", "@all: be brief")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_text_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "prompt.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="template cannot be read from .*prompt.txt: .*write @@ for"):
        RunOptions.from_texts({"input": "i", "model": ["m"], "template": f"@{path}"})


def test_one_of_several_words() -> None:
    assert RunOptions.from_texts({"input": "i", "model": ["m"], "on_bad_row": "skip"}).on_bad_row == "skip"
    with pytest.raises(ConfigurationError, match="on_bad_row must be one of stop, skip, got 'x'"):
        RunOptions.from_texts({"input": "i", "model": ["m"], "on_bad_row": "x"})
