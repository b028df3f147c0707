"""Google's token endpoint: assertions that are refused."""

from __future__ import annotations

import pytest

from callgate.testing.simulator import SimulatedProvider


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=x.y", "three parts"),
        ("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=e30.e30.e30", "RS256"),
    ],
)
def test_an_invalid_assertion_is_refused(form, said):
    plan = SimulatedProvider(clock=lambda: 0.0).handle("POST", "/token", {}, form.encode())
    assert plan.status == 400
    assert said in plan.body.decode()
