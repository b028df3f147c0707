"""What a shell completes: providers, and their models with a known price.

A function here takes what was typed and returns what it may become. Nothing is imported before it is called.
"""

from __future__ import annotations

__all__ = ["complete_model", "complete_provider"]


def complete_provider(typed: str) -> list[str]:
    """The providers that begin so.

    >>> complete_provider("mis")
    ['mistral']
    """
    from callgate.providers.hosts import HOSTS

    return [name for name in HOSTS if name.startswith(typed)]


def complete_model(typed: str) -> list[str]:
    """The models that begin so; without a slash, the providers. Commas separate several.

    >>> complete_model("mis"), complete_model("mistral/x,openai/gpt-4o-mini-a")
    (['mistral/'], ['mistral/x,openai/gpt-4o-mini-audio-preview'])
    """
    from callgate.model.known_models import known_models
    from callgate.providers.hosts import HOSTS

    before, comma, last = typed.rpartition(",")
    provider, slash, _ = last.partition("/")
    if not slash:
        found = [f"{name}/" for name in complete_provider(last)]
    else:
        models = known_models(HOSTS[provider]) if provider in HOSTS else []
        found = [model.name for model in models if model.name.startswith(last)]
    return [f"{before}{comma}{name}" for name in found]
