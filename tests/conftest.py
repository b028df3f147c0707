"""Hypothesis profiles (`usual` for `make test`, `soak` for `make soak`), and names of parametrized tests."""

from __future__ import annotations

from hypothesis import settings

from tests.effort import SOAK

settings.register_profile("usual", max_examples=50, deadline=None, print_blob=True)
settings.register_profile("soak", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("soak" if SOAK else "usual")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name long bytes by their kind: packed bodies hold the time, and workers must collect the same names."""
    return "bytes" if isinstance(val, bytes) and len(val) > 16 else None
