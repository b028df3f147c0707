"""Hypothesis profiles (`usual` for `make test`, `soak` for `make soak`), garbage collection, test names."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.effort import SOAK

settings.register_profile("usual", max_examples=50, deadline=None, print_blob=True)
settings.register_profile("soak", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("soak" if SOAK else "usual")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Exempt the collected tests from garbage collection: a test's `gc.collect()` takes 0.3 s with them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name long bytes by their kind: packed bodies hold the time, and workers must collect the same names."""
    return "bytes" if isinstance(val, bytes) and len(val) > 16 else None
