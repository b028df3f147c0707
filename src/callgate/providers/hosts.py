"""The table of hosts: every provider by name, as data. To add a provider, add a row.

A host is a base URL, a kind of authentication, and the rules of its quota. The dialect forms the requests;
most hosts speak OpenAI's chat dialect and differ only in this table and in `openai_chat/quirks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from callgate.errors import ConfigurationError
from callgate.providers.guess import did_you_mean
from callgate.providers.host import Host
from callgate.providers.openai_chat import quirks
from callgate.providers.openai_chat.quirks import ChatQuirks

__all__ = [
    "HOSTS",
    "Host",
    "entra_scope",
    "fill_region",
    "find_host",
    "host_at",
    "is_google_key",
    "key_scheme",
    "read_query",
    "resolve_base_url",
]

# Named, for each is one host that speaks two dialects.
_OPENAI = Host(
    provider="openai",
    name="openai_chat",
    base_url="https://api.openai.com/v1",
    base_url_env="OPENAI_BASE_URL",
    api_key_env="OPENAI_API_KEY",
    quota_headers="openai",
    price_provider="openai",
    quirks=quirks.OPENAI,
)
_BEDROCK = Host(
    provider="bedrock",
    name="bedrock",
    dialect="bedrock",
    base_url="https://bedrock-runtime.{region}.amazonaws.com",
    base_url_env="AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
    api_key_env="AWS_BEARER_TOKEN_BEDROCK",
    auth="sigv4",
    # It gives back what was reserved and not written, but counts what newer Claudes write five times
    # (docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html). Of neither do we keep
    # account: all of max_tokens stays reserved, which is too much for the one and may fall short of the
    # other.
    reservation="max_tokens",
    counts_cache_reads=False,
    price_provider="aws",
    aliases=("aws", "aws_bedrock"),
)

_ALL = (
    _OPENAI,
    replace(
        _OPENAI,
        provider="openai_responses",
        name="openai_responses",
        dialect="openai_responses",
        quirks=ChatQuirks(),
    ),
    Host(
        provider="groq",
        name="groq_chat",
        base_url="https://api.groq.com/openai/v1",
        base_url_env="GROQ_BASE_URL",
        api_key_env="GROQ_API_KEY",
        quota_headers="groq",
        counts_cache_reads=False,
        price_provider="groq",
        quirks=quirks.GROQ,
    ),
    Host(
        provider="openrouter",
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        base_url_env="OPENROUTER_BASE_URL",
        api_key_env="OPENROUTER_API_KEY",
        quota_headers="plain",
        price_provider="openrouter",
        aliases=("open_router",),
        quirks=quirks.OPENROUTER,
    ),
    Host(
        provider="nvidia_nim",
        name="nvidia_nim",
        base_url="https://integrate.api.nvidia.com/v1",
        base_url_env="NVIDIA_NIM_BASE_URL",
        api_key_env="NVIDIA_NIM_API_KEY",
        other_api_key_envs=("NVIDIA_API_KEY",),
        aliases=("nvidia", "nim"),
        quirks=quirks.NVIDIA_NIM,
    ),
    Host(
        provider="mistral",
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        base_url_env="MISTRAL_BASE_URL",
        api_key_env="MISTRAL_API_KEY",
        quota_headers="per_period",
        price_provider="mistral",
        quirks=quirks.MISTRAL,
        aliases=("mistralai",),
    ),
    Host(
        provider="deepseek",
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        base_url_env="DEEPSEEK_BASE_URL",
        api_key_env="DEEPSEEK_API_KEY",
        price_provider="deepseek",
        quirks=quirks.DEEPSEEK,
    ),
    Host(
        provider="together",
        name="together",
        base_url="https://api.together.xyz/v1",
        base_url_env="TOGETHER_BASE_URL",
        api_key_env="TOGETHER_API_KEY",
        quota_headers="together",
        price_provider="together",
        aliases=("together_ai", "togetherai"),
        quirks=quirks.TOGETHER,
    ),
    Host(
        provider="fireworks",
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        base_url_env="FIREWORKS_BASE_URL",
        api_key_env="FIREWORKS_API_KEY",
        # Its headers tell of prompt tokens and of generated tokens apart, which cannot be one limit of ours;
        # whether its own page names now the minute and now the second
        # (docs.fireworks.ai/serverless/rate-limits, 2026), so they are left unread.
        price_provider="fireworks",
        aliases=("fireworks_ai",),
        quirks=quirks.FIREWORKS,
    ),
    Host(
        provider="cerebras",
        name="cerebras",
        base_url="https://api.cerebras.ai/v1",
        base_url_env="CEREBRAS_BASE_URL",
        api_key_env="CEREBRAS_API_KEY",
        quota_headers="per_period",
        price_provider="cerebras",
        quirks=quirks.CEREBRAS,
    ),
    Host(
        provider="xai",
        name="xai",
        base_url="https://api.x.ai/v1",
        base_url_env="XAI_BASE_URL",
        api_key_env="XAI_API_KEY",
        # OpenAI's names. Its page on limits (docs.x.ai/developers/rate-limits) counts requests by the second
        # and tokens by the minute, and leaves open what its headers refer to: by the minute is a guess.
        quota_headers="openai",
        price_provider="x-ai",
        aliases=("x_ai", "grok"),
        quirks=quirks.XAI,
    ),
    Host(
        provider="azure",
        name="azure",
        base_url_env="AZURE_OPENAI_ENDPOINT",
        # https://NAME.openai.azure.com/openai/v1, or for older deployments
        # https://NAME.openai.azure.com/openai/deployments/DEPLOYMENT?api-version=2024-10-21
        query=(("api_version", "api-version"),),
        api_key_env="AZURE_OPENAI_API_KEY",
        bearer_env="AZURE_OPENAI_AD_TOKEN",
        auth="api-key",
        quota_headers="azure",
        price_provider="azure",
        quirks=replace(quirks.OPENAI, provider="azure", needs_model=False),
        aliases=("azure_openai",),
    ),
    Host(
        provider="ollama",
        name="ollama",
        base_url="http://localhost:11434/v1",
        base_url_env="OLLAMA_BASE_URL",
        api_key_env="OLLAMA_API_KEY",
        api_key_required=False,
        quirks=quirks.OLLAMA,
    ),
    Host(
        provider="vllm",
        name="vllm",
        base_url="http://localhost:8000/v1",
        base_url_env="VLLM_BASE_URL",
        api_key_env="VLLM_API_KEY",
        api_key_required=False,
        aliases=("hosted_vllm",),
        quirks=quirks.VLLM,
    ),
    Host(
        provider="anthropic",
        name="anthropic_messages",
        dialect="anthropic",
        base_url="https://api.anthropic.com",
        base_url_env="ANTHROPIC_BASE_URL",
        api_key_env="ANTHROPIC_API_KEY",
        auth="x-api-key",
        quota_headers="anthropic",
        reservation="input_output",
        counts_cache_reads=False,
        price_provider="anthropic",
        aliases=("claude",),
    ),
    Host(
        provider="gemini",
        name="gemini",
        dialect="gemini",
        base_url="https://generativelanguage.googleapis.com",
        base_url_env="GOOGLE_GEMINI_BASE_URL",
        api_key_env="GEMINI_API_KEY",
        other_api_key_envs=("GOOGLE_API_KEY",),
        auth="x-goog-api-key",
        reservation="input_output",
        price_provider="google",
        aliases=("google",),
    ),
    _BEDROCK,
    replace(_BEDROCK, provider="bedrock_invoke", name="bedrock_invoke", dialect="bedrock_invoke", aliases=()),
    Host(
        provider="vertex",
        name="vertex",
        dialect="vertex",
        base_url="https://{region}-aiplatform.googleapis.com",
        base_url_env="VERTEX_BASE_URL",
        auth="google",
        reservation="input_output",
        price_provider="google",
        aliases=("vertex_ai", "gcp"),
    ),
    Host(
        provider="claude_code",
        name="claude_code_cli",
        command=True,
        dialect="claude_code",
        auth="none",
        api_key_required=False,
        reservation="input_output",
        price_provider="anthropic",
    ),
    Host(
        provider="local",
        name="local",
        embedded=True,
        auth="none",
        api_key_required=False,
    ),
)

HOSTS: Mapping[str, Host] = {host.provider: host for host in _ALL}
"""Provider name -> host."""

_BY_ANY_NAME = {
    **{alias: host for host in _ALL for alias in (host.name, *host.aliases)},
    **HOSTS,
}


def find_host(provider: str) -> Host:
    """The host of this name; capitals and hyphens do not matter.

    Raises:
        ConfigurationError: (a ValueError) No host has that name; the message has the nearest one.

    >>> find_host("Together-AI").provider
    'together'
    """
    host = _BY_ANY_NAME.get(provider.strip().lower().replace("-", "_"))
    if host is None:
        hint = did_you_mean(provider, _BY_ANY_NAME) or f"; use one of {', '.join(sorted(HOSTS))}"
        raise ConfigurationError(
            f"unknown provider {provider!r}{hint}",
            setting="base_url",
            remedy="for a server of your own, give",
        )
    return host


def host_at(url: str) -> Host | None:
    """The host whose address this URL is below; None when no known host has it.

    >>> host_at("https://api.groq.com/openai/v1/chat/completions").provider
    'groq'
    """
    where = urlsplit(url).hostname
    return next((h for h in _ALL if h.base_url and urlsplit(h.base_url).hostname == where), None)


def resolve_base_url(host: Host, environ: Mapping[str, str]) -> str | None:
    """The host's base URL without a trailing slash: from its variable in `environ`, else from the table.

    None when neither has one; then only the user knows it.

    >>> resolve_base_url(find_host("openai"), {"OPENAI_BASE_URL": "http://127.0.0.1:8080/v1/"})
    'http://127.0.0.1:8080/v1'
    """
    given = environ.get(host.base_url_env, "").strip() if host.base_url_env else ""
    if not given:
        return host.base_url
    given = given.rstrip("/")
    if host.provider == "azure" and "/openai" not in given:
        # The SDK's variable names the resource alone.
        return given + "/openai/v1"
    return given


def fill_region(base_url: str, region: str) -> str:
    """The base URL with its region; Google's "global", "us" and "eu" have hosts of another form.

    >>> fill_region("https://{region}-aiplatform.googleapis.com", "eu")
    'https://aiplatform.eu.rep.googleapis.com'
    """
    google = "{region}-aiplatform"
    if google in base_url and region in ("us", "eu"):
        return base_url.replace(f"{google}.googleapis", f"aiplatform.{region}.rep.googleapis")
    if region == "global":
        return base_url.replace("{region}-", "")
    return base_url.replace("{region}", region)


def key_scheme(host: Host | None, kind: str, key: str) -> str:
    """How a key is sent to a host that is otherwise asked with signatures or tokens.

    A key of Bedrock is a bearer token. At Vertex an API key (express mode) has a header of its own, and
    anything else is an access token.

    >>> key_scheme(None, "google", "AIzaSyB-12"), key_scheme(None, "google", "ya29.a0")
    ('x-goog-api-key', 'bearer')
    """
    if kind == "google":
        return "x-goog-api-key" if is_google_key(key) else "bearer"
    return "bearer" if kind == "sigv4" else kind


def is_google_key(key: str) -> bool:
    """True for an API key of Google's, False for an access token."""
    return key.startswith(("AIza", "AQ."))


def entra_scope(base_url: str) -> str:
    """The scope of an Entra token for this address of Azure.

    >>> entra_scope("https://r.services.ai.azure.com/anthropic")
    'https://ai.azure.com/.default'
    """
    where = urlsplit(base_url).hostname or ""
    if where.endswith(".services.ai.azure.com"):
        return "https://ai.azure.com/.default"
    return "https://cognitiveservices.azure.com/.default"


def read_query(base_url: str, host: Host | None) -> tuple[str, dict[str, str]]:
    """The URL without its query, and the host's settings in that query.

    Azure's portal shows the whole URL of a chat with a deployment; that is taken for the deployment's. With
    any parameter that the host does not take there, or no host, the URL stays as it is.

    >>> read_query("https://r.openai.azure.com/openai/deployments/d?api-version=1", find_host("azure"))
    ('https://r.openai.azure.com/openai/deployments/d', {'api_version': '1'})
    """
    address, _, query = base_url.partition("?")
    ours = {} if host is None else {its: name for name, its in host.query}
    given = dict(parse_qsl(query, keep_blank_values=True))
    if not given or not given.keys() <= ours.keys():
        return base_url, {}
    address = address.rstrip("/").removesuffix("/chat/completions")
    return address, {ours[name]: value for name, value in given.items()}
