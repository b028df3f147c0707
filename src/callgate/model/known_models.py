"""The models of a provider with their prices, as genai-prices lists them. Offline: its data is on disk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from callgate.providers.guess import FAMILY_OWNERS, provider_of
from callgate.providers.host import Host

__all__ = ["KnownModel", "known_models"]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One model of a provider. Prices are in US dollars per million tokens, None where there is none.

    Attributes:
        name: As `iModel` and `callgate run -m` take it: "openai/gpt-4o-mini".
        input: Of a token that is read.
        cached: Of a token that is read from the provider's prompt cache.
        output: Of a token that is written.
        context: The longest input in tokens, or None.
        tiered: True if long inputs have a higher price than these.
        deprecated: True if the provider is about to withdraw it.

    >>> KnownModel("openai/gpt-4o-mini", 0.15, 0.075, 0.6, 128_000).input
    0.15
    """

    name: str
    input: float | None
    cached: float | None
    output: float | None
    context: int | None
    tiered: bool = False
    deprecated: bool = False


def known_models(host: Host, *, at: datetime | None = None) -> list[KnownModel]:
    """The models of a host that are priced by the token, by name; empty for a host that has no prices.

    Args:
        host: The provider.
        at: The moment whose prices hold; None: now.

    >>> from callgate.providers.hosts import find_host
    >>> [model.name for model in known_models(find_host("vllm"))]
    []
    """
    if host.price_provider is None:
        return []
    snapshot: Any = import_module("genai_prices.data_snapshot").get_snapshot()
    listed = next((each for each in snapshot.providers if each.id == host.price_provider), None)
    moment = at or datetime.now(UTC)
    found = (
        _read(f"{host.provider}/{name}", info, info.get_prices(moment))
        for info in ([] if listed is None else listed.models)
        if (name := _name(info, listed)) is not None and _serves(host.provider, name)
    )
    priced = (model for model in found if model.input is not None or model.output is not None)
    return sorted(priced, key=lambda model: model.name)


def _serves(provider: str, model: str) -> bool:
    """Whether a provider sells a model that is listed with it.

    One list may stand for several providers: Google's has what Vertex sells of others, which Gemini does not.
    """
    return provider not in FAMILY_OWNERS or provider_of(model) in (provider, None)


def _name(info: Any, listed: Any) -> str | None:
    """A name that this entry prices; None if it has none, as the entry of a family such as `ft:gpt-4o`."""
    names = (getattr(clause, "equals", None) for clause in getattr(info.match, "or_", (info.match,)))
    return next((name for name in (info.id, *names) if name and listed.find_model(name) is info), None)


def _read(name: str, info: Any, prices: Any) -> KnownModel:
    given = (prices.input_mtok, prices.cache_read_mtok, prices.output_mtok)
    reading, cached, writing = (
        None if each is None else float(getattr(each, "base", each)) for each in given
    )
    return KnownModel(
        name,
        reading,
        cached,
        writing,
        info.context_window,
        tiered=any(hasattr(each, "tiers") for each in given),
        deprecated=bool(info.deprecated),
    )
