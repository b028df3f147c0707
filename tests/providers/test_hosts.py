"""The providers by name: where each is, how it is asked, what it speaks."""

from __future__ import annotations

import re

import pytest

from callgate.errors import ConfigurationError
from callgate.providers.catalog import DIALECTS, dialect_of, find_dialect
from callgate.providers.hosts import HOSTS, Host, find_host, resolve_base_url

NAMES_OF_THE_DOCUMENTS = {
    "openai": "openai_chat",
    "groq": "groq_chat",
    "openrouter": "openrouter",
    "nvidia_nim": "nvidia_nim",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "together": "together",
    "fireworks": "fireworks",
    "cerebras": "cerebras",
    "xai": "xai",
    "azure": "azure",
    "ollama": "ollama",
    "vllm": "vllm",
    "openai_responses": "openai_responses",
    "anthropic": "anthropic_messages",
    "gemini": "gemini",
    "bedrock": "bedrock",
    "bedrock_invoke": "bedrock_invoke",
    "vertex": "vertex",
    "claude_code": "claude_code_cli",
    "local": "local",
}


def test_every_provider_of_the_documents_is_there_under_both_its_names() -> None:
    assert set(NAMES_OF_THE_DOCUMENTS) <= set(HOSTS)
    for provider, name in NAMES_OF_THE_DOCUMENTS.items():
        assert find_host(provider).name == name
        assert find_host(name).name == name


def test_names_mean_one_host_each() -> None:
    names: dict[str, str] = {}
    for host in HOSTS.values():
        for name in {host.provider, host.name, *host.aliases}:
            assert name not in names, (name, host.provider, names.get(name))
            names[name] = host.provider


def test_capitals_and_hyphens_do_not_matter() -> None:
    assert find_host(" NVIDIA-NIM ") is HOSTS["nvidia_nim"]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("opnai", "did you mean openai?"),
        ("antropic", "did you mean anthropic?"),
        ("gpt-4o-mini", "gpt-4o-mini is a model of openai"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5 is a model of anthropic"),
    ],
)
def test_only_the_most_similar_provider_is_suggested(given: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_host(given)
    assert hint in str(caught.value)
    assert "cerebras" not in str(caught.value)


def test_an_unknown_provider_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'acme'.*anthropic, azure.*xai.*base_url=") as caught:
        find_host("acme")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("host", HOSTS.values(), ids=lambda host: host.provider)
def test_a_host_is_sound(host: Host) -> None:
    assert host.dialect in DIALECTS
    if host.base_url is not None:
        assert re.fullmatch(r"https://[^?#]*[^/]|http://localhost:\d+/v1", host.base_url)
    for name in (host.base_url_env, host.api_key_env, *host.other_api_key_envs):
        assert name is None or re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
    if host.auth in ("bearer", "x-api-key", "x-goog-api-key", "api-key"):
        assert host.api_key_env


@pytest.mark.parametrize("provider", [p for p, h in HOSTS.items() if h.dialect.startswith("openai")])
def test_a_hosts_dialect_is_the_one_it_names(provider: str) -> None:
    host = find_host(provider)
    assert dialect_of(host).name == host.dialect
    assert dialect_of(host) is dialect_of(host)


def test_a_host_without_quirks_shares_the_dialect() -> None:
    assert dialect_of(find_host("local")) is find_dialect("openai_chat")
    assert dialect_of(find_host("mistral")) is not find_dialect("openai_chat")


def test_an_unknown_dialect_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'esperanto'.*openai_chat"):
        find_dialect("esperanto")


def test_what_is_read_from_the_cache_is_left_out_where_the_provider_says_so() -> None:
    spared = {host.provider for host in HOSTS.values() if not host.counts_cache_reads}
    assert spared == {"groq", "anthropic", "bedrock", "bedrock_invoke"}


def test_the_variable_of_the_official_sdk_goes_before_the_table() -> None:
    openai = find_host("openai")
    assert resolve_base_url(openai, {}) == "https://api.openai.com/v1"
    assert (
        resolve_base_url(openai, {"OPENAI_BASE_URL": " http://127.0.0.1:1/v1/ "}) == "http://127.0.0.1:1/v1"
    )
    assert resolve_base_url(openai, {"OPENAI_BASE_URL": ""}) == "https://api.openai.com/v1"


def test_azures_variable_names_the_resource_alone() -> None:
    azure = find_host("azure")
    assert resolve_base_url(azure, {}) is None
    for told in ("https://r.openai.azure.com/", "https://r.openai.azure.com/openai/v1"):
        assert (
            resolve_base_url(azure, {"AZURE_OPENAI_ENDPOINT": told}) == "https://r.openai.azure.com/openai/v1"
        )


def test_a_host_without_a_variable_has_only_the_table() -> None:
    assert resolve_base_url(find_host("local"), {"LOCAL_BASE_URL": "http://x"}) is None
