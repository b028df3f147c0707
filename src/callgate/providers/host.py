"""`Host`: a provider's address, authentication, quota rules and dialect. The table of hosts is `hosts.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from callgate.providers.openai_chat.quirks import ChatQuirks

__all__ = ["AuthKind", "Host", "Reservation"]

AuthKind = Literal["bearer", "x-api-key", "x-goog-api-key", "api-key", "sigv4", "google", "none"]
Reservation = Literal["max_tokens", "input_output"]


@dataclass(frozen=True, slots=True)
class Host:
    """One provider: where it is, how it is asked, and what it counts.

    Attributes:
        provider: The name a user writes: "groq".
        name: The name of the ready-made endpoint: "groq_chat".
        dialect: What it speaks, as `catalog.find_dialect` knows it.
        base_url: Without a trailing slash; None when only the user can know it. `{region}` is filled in by
            the backend.
        base_url_env: The variable that overrides `base_url`, the official SDK's own where there is one.
        query: Settings that every call carries in its query, in pairs (ours, its). A base URL may end with
            these; any other query of one is refused, for it may hold a key.
        api_key_env: The variable that holds the key, or None when there is no key.
        other_api_key_envs: Variables that are read when the first is not set.
        bearer_env: The variable of an access token, which is read when there is no key; None for none.
        auth: How the key is shown.
        api_key_required: Whether a call without a key is pointless.
        quota_headers: The family of its quota headers, as `quota_headers.read_quota` knows it.
        reservation: What it holds against tokens per period when a call begins: the input and all of
            `max_tokens`, or the input and what is really written.
        counts_cache_reads: Whether tokens read from its prompt cache count against the quota.
        price_provider: Its id at genai-prices, or None when it has no prices there.
        quirks: Deviations from OpenAI's chat dialect.
        command: Whether it is a command on this machine instead of an address.
        embedded: Whether it runs inside this process and is started with the endpoint.
        aliases: Other names it is found by.

    >>> Host("groq", "groq_chat", base_url="https://api.groq.com/openai/v1").auth
    'bearer'
    """

    provider: str
    name: str
    dialect: str = "openai_chat"
    base_url: str | None = None
    base_url_env: str | None = None
    query: tuple[tuple[str, str], ...] = ()
    api_key_env: str | None = None
    other_api_key_envs: tuple[str, ...] = ()
    bearer_env: str | None = None
    auth: AuthKind = "bearer"
    api_key_required: bool = True
    quota_headers: str = "none"
    reservation: Reservation = "max_tokens"
    counts_cache_reads: bool = True
    price_provider: str | None = None
    quirks: ChatQuirks = field(default_factory=ChatQuirks)
    command: bool = False
    embedded: bool = False
    aliases: tuple[str, ...] = ()
