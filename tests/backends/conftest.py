"""One embedded model for all tests of this folder, started as `iModel("local/smollm2")` starts it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from callgate.backends.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer("smollm2") as running:
        yield running
