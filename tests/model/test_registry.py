"""Models by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from callgate.model.registry import ServiceRegistry


@dataclass(eq=False)
class Service:
    name: str
    tags: frozenset[str] = frozenset()
    id: UUID = field(default_factory=uuid4)


def test_a_registered_service_is_found_by_name_and_by_id() -> None:
    registry, service = ServiceRegistry(), Service("chat")
    assert registry.register(service) == service.id
    assert registry.get("chat") is registry.get(service.id) is service
    assert "chat" in registry
    assert service.id in registry
    assert registry.has("chat")


def test_a_name_is_taken_once_unless_updated() -> None:
    registry, first, second = ServiceRegistry(), Service("chat"), Service("chat")
    registry.register(first)
    with pytest.raises(ValueError, match="'chat' is registered"):
        registry.register(second)
    assert registry.get("chat") is first
    assert registry.register(second, update=True) == second.id
    assert registry.get("chat") is second
    assert registry.count() == len(registry) == 1
    assert first.id not in registry


def test_an_unknown_name_is_a_key_error_that_names_the_known() -> None:
    registry = ServiceRegistry()
    with pytest.raises(KeyError, match="none"):
        registry.get("chat")
    registry.register(Service("chat"))
    with pytest.raises(KeyError, match="no service 'caht'; there are chat"):
        registry.get("caht")
    with pytest.raises(KeyError):
        registry.unregister(uuid4())
    assert "caht" not in registry
    assert 3 not in registry


def test_unregistering_gives_it_back() -> None:
    registry, service = ServiceRegistry(), Service("chat")
    registry.register(service)
    assert registry.unregister("chat") is service
    assert not registry.has("chat")


def test_listing_keeps_the_order_of_registration() -> None:
    registry = ServiceRegistry()
    services = [Service("b", frozenset({"llm", "x"})), Service("a", frozenset({"llm"})), Service("c")]
    for service in services:
        registry.register(service)
    assert registry.list_names() == ["b", "a", "c"]
    assert registry.list_by_tag("llm") == services[:2]
    assert registry.list_by_tag("none") == []
    assert list(registry) == services
    assert repr(registry) == "<ServiceRegistry b, a, c>"
    registry.clear()
    assert registry.count() == 0
    assert repr(registry) == "<ServiceRegistry empty>"


def test_what_cannot_be_found_again_is_refused() -> None:
    with pytest.raises(ValueError, match="str has no 'id'"):
        ServiceRegistry().register("chat")  # type: ignore[arg-type]
