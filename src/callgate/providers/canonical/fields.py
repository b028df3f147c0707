"""Fields of the canonical request that providers spell in different ways, or do not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.messages import refuse

__all__ = ["merge_extra_body", "read_betas", "read_service_tier", "refuse_fields", "refuse_media_output"]


def read_service_tier(
    request: Mapping[str, Any], tiers: Mapping[str, str | None], provider: str
) -> str | None:
    """Translate `service_tier`; None when the request has none, or the provider's default is meant.

    Args:
        request: The canonical request.
        tiers: Canonical tier -> the provider's word, or None to leave the field out.
        provider: Its name, for the message.

    Raises:
        InvalidRequestError: The provider has no such tier: leaving it out would change the price.

    >>> read_service_tier({"service_tier": "default"}, {"default": "standard"}, "Gemini")
    'standard'
    """
    tier = request.get("service_tier")
    if tier is None:
        return None
    if type(tier) is not str or tier not in tiers:
        raise refuse(f"{provider} has no service_tier {tier!r}; use {', '.join(tiers)}, or leave it out")
    return tiers[tier]


def refuse_fields(request: Mapping[str, Any], provider: str, advice: Mapping[str, str]) -> None:
    """Refuse fields whose omission would change the answer or its price.

    Args:
        request: The canonical request.
        provider: Its name, for the message.
        advice: Field -> what to do instead.

    Raises:
        InvalidRequestError: The request has one of the fields.
    """
    for name, instead in advice.items():
        if request.get(name) is not None:
            raise refuse(f"{provider} has no {name}; {instead}")


def refuse_media_output(request: Mapping[str, Any], provider: str) -> None:
    """Refuse `modalities` other than text.

    Raises:
        InvalidRequestError: The request asks for sound or pictures.
    """
    modalities = request.get("modalities")
    if modalities is not None and list(modalities) != ["text"]:
        raise refuse(f"{provider} answers with text only, not modalities={list(modalities)}")


def read_betas(request: Mapping[str, Any]) -> list[str]:
    """The names in `betas`, each once.

    Raises:
        InvalidRequestError: It is neither text nor a list of texts.
    """
    betas = request.get("betas") or request.get("anthropic_beta") or ()
    names = betas.split(",") if isinstance(betas, str) else list(betas)
    if not all(isinstance(name, str) for name in names):
        raise refuse(f"betas must be a list of names, got {betas!r}")
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


def merge_extra_body(body: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the fields of `extra_body`, which are sent as they are.

    Raises:
        InvalidRequestError: `extra_body` is not an object.
    """
    extra = request.get("extra_body")
    if extra is None:
        return body
    if not isinstance(extra, Mapping):
        raise refuse(f"extra_body must be an object, got {type(extra).__name__}")
    return {**body, **extra}
