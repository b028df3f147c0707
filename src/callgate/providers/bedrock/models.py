"""The abilities of a model at Bedrock, read from its id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from callgate.errors import InvalidRequestError
from callgate.providers.anthropic.models import (
    claude_version,
    is_claude,
    takes_forced_tool,
    takes_output_format,
)
from callgate.providers.canonical.messages import refuse

__all__ = [
    "caches_prompts",
    "can_be_forced",
    "family_of",
    "holds_to_schema",
    "is_named",
    "model_behind",
    "refuse_unnamed",
]

# Families that Bedrock cannot hold to a schema; of Claude, the models before 4.5.
_WITHOUT_SCHEMA = ("amazon.", "meta.", "cohere.", "ai21.", "writer.", "stability.", "luma.")
_WITHOUT_FORCED_TOOL = ("meta.", "cohere.", "ai21.", "writer.")
_PROFILE = re.compile(r"^(?:us|eu|apac|jp|au|ca|global|us-gov)\.")


def model_behind(request: Mapping[str, Any], model: str) -> str:
    """The id whose abilities count: `base_model` where the caller gives one, else the model's own.

    An ARN of an application inference profile, a provisioned or an imported model does not name its model.
    """
    base = request.get("base_model")
    return base.strip() if isinstance(base, str) and base.strip() else model


def family_of(model: str) -> str:
    """The id from its maker on: without the prefix of a region, or the ARN before it.

    >>> family_of("arn:aws:bedrock:us-east-1:123:inference-profile/us.anthropic.claude-opus-4-6-v1")
    'anthropic.claude-opus-4-6-v1'
    """
    return _PROFILE.sub("", model.rpartition("/")[2].lower())


def is_named(model: str) -> bool:
    """True when the id names a model, False for an ARN or a name that an account gave.

    >>> is_named("amazon.nova-lite-v1:0"), is_named("arn:aws:bedrock:us-east-1:1:provisioned-model/abc123")
    (True, False)
    """
    return is_claude(model) or "." in family_of(model)


def refuse_unnamed(model: str, field: str) -> InvalidRequestError:
    """The error for a field that models spell in different ways, where the model is not known."""
    return refuse(
        f"{model} (an ARN or inference profile) does not name its model, and {field} is written differently"
        " for each; add base_model=, as base_model='anthropic.claude-sonnet-4-5-20250929-v1:0'"
    )


def holds_to_schema(model: str) -> bool:
    """True when Bedrock can hold the model's answer to a JSON schema."""
    return (
        takes_output_format(model) if is_claude(model) else not family_of(model).startswith(_WITHOUT_SCHEMA)
    )


def can_be_forced(model: str) -> bool:
    """True when the model accepts `toolChoice` any and tool."""
    return takes_forced_tool(model) and not family_of(model).startswith(_WITHOUT_FORCED_TOOL)


def caches_prompts(model: str) -> bool:
    """True when the model accepts cache points: Claude 3.5 and later, Nova, and models that are not known."""
    if is_claude(model):
        return (claude_version(model) or (99, 0)) >= (3, 5)
    return family_of(model).startswith("amazon.nova") or not is_named(model)
