"""`ServiceRegistry`: models by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Protocol
from uuid import UUID

from callgate.errors import ConfigurationError

__all__ = ["Registered", "ServiceRegistry"]


class Registered(Protocol):
    """What a registry needs to know of a thing; an `iModel` has it all."""

    @property
    def id(self) -> UUID:
        """Unique to it."""
        ...

    @property
    def name(self) -> str:
        """What it is found by."""
        ...

    @property
    def tags(self) -> Collection[str]:
        """What it is listed by."""
        ...


class ServiceRegistry:
    """Models by name, in the order they were registered. It owns none of them and closes none.

    Example::

        registry = ServiceRegistry()
        registry.register(iModel(provider="openai", model="gpt-4o-mini"))
        registry.register(iModel(backend=Tool(get_weather)))
        calling = await registry.get("openai_chat").invoke(messages=[...])
        registry.list_by_tag("llm")  # [<iModel 'openai_chat' ...>]
    """

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        # Any, so that `registry.get(name).invoke(...)` needs no cast: what goes in comes out.
        self._by_name: dict[str, Any] = {}

    def register(self, model: Registered, update: bool = False) -> UUID:
        """Add a model under its name and give its id.

        Args:
            model: Anything with `id`, `name` and `tags`.
            update: Replace one that has this name.

        Raises:
            ConfigurationError: (a ValueError) when the name is taken and `update` is false, or when `model`
                lacks a name, id or tags.
        """
        for needed in ("id", "name", "tags"):
            if not hasattr(model, needed):
                raise ConfigurationError(f"{type(model).__name__} has no {needed!r} and cannot be registered")
        if not update and model.name in self._by_name:
            raise ConfigurationError(
                f"a service named {model.name!r} is registered; give this one another name or use update=True"
            )
        self._by_name[model.name] = model
        return model.id

    def get(self, name: str | UUID) -> Any:
        """The model of this name or id.

        Raises:
            KeyError: when there is none.
        """
        return self._by_name[self._name_of(name)]

    def unregister(self, name: str | UUID) -> Any:
        """Take the model of this name or id out and give it back; it is not closed.

        Raises:
            KeyError: when there is none.
        """
        return self._by_name.pop(self._name_of(name))

    def has(self, name: str | UUID) -> bool:
        """Whether there is a model of this name or id."""
        try:
            self._name_of(name)
        except KeyError:
            return False
        return True

    def list_names(self) -> list[str]:
        """All names, in the order of registration."""
        return list(self._by_name)

    def list_by_tag(self, tag: str) -> list[Any]:
        """The models that carry this tag, in the order of registration."""
        return [model for model in self._by_name.values() if tag in model.tags]

    def count(self) -> int:
        """How many there are."""
        return len(self._by_name)

    def clear(self) -> None:
        """Forget all of them; none is closed."""
        self._by_name.clear()

    def _name_of(self, key: str | UUID) -> str:
        if isinstance(key, UUID):
            for name, model in self._by_name.items():
                if model.id == key:
                    return name
        elif key in self._by_name:
            return key
        raise KeyError(f"no service {str(key)!r}; there are {', '.join(self._by_name) or 'none'}")

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str | UUID) and self.has(name)

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self._by_name.values()))

    def __repr__(self) -> str:
        return f"<ServiceRegistry {', '.join(self._by_name) or 'empty'}>"
