"""Hypothesis profiles: `usual` for `make test`, `soak` for `make soak`."""

from __future__ import annotations

from hypothesis import settings

from tests.effort import SOAK

settings.register_profile("usual", max_examples=50, deadline=None, print_blob=True)
settings.register_profile("soak", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("soak" if SOAK else "usual")
