"""Dialects by name and by host."""

from __future__ import annotations

import pytest

from callgate.errors import ConfigurationError
from callgate.providers.catalog import DIALECTS, dialect_of, find_dialect
from callgate.providers.host import ChatQuirks
from callgate.providers.hosts import HOSTS, find_host


@pytest.mark.parametrize("name", DIALECTS)
def test_each_dialect_is_found_and_shared(name: str) -> None:
    dialect = find_dialect(name)
    assert dialect.name == name
    assert find_dialect(name) is dialect


@pytest.mark.parametrize("provider", HOSTS)
def test_each_host_has_a_dialect(provider: str) -> None:
    host = find_host(provider)
    assert dialect_of(host).name == host.dialect
    assert dialect_of(host) is dialect_of(host)


@pytest.mark.parametrize("provider", HOSTS)
def test_only_hosts_with_deviations_have_a_dialect_of_their_own(provider: str) -> None:
    host = find_host(provider)
    shared = dialect_of(host) is find_dialect(host.dialect)
    assert shared == (host.quirks == ChatQuirks())


def test_an_unknown_dialect_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"no dialect 'esperanto'.*anthropic.*openai_chat"):
        find_dialect("esperanto")
