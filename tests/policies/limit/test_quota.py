"""Quotas that cannot work are told when they are made."""

from __future__ import annotations

import math
from typing import Any

import pytest

from callgate.errors import ConfigurationError
from callgate.policies.limit.quota import Quota, QuotaNews


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "10", True])
@pytest.mark.parametrize("name", ["rate", "period", "capacity"])
def test_only_positive_finite_numbers(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"quota's {name} must be a positive, finite number"):
        Quota(**{"rate": 1, name: value})


@pytest.mark.parametrize("name", ["rate", "period"])
def test_nothing_is_no_rate_and_no_period(name: str) -> None:
    with pytest.raises(ConfigurationError):
        Quota(**{"rate": 1, name: None})  # type: ignore[arg-type]


def test_values_are_frozen_and_have_no_dict() -> None:
    quota, news = Quota(600), QuotaNews("tokens")
    assert quota.per_second == 10
    assert not hasattr(quota, "__dict__")
    assert not hasattr(news, "__dict__")
    with pytest.raises(AttributeError):
        quota.rate = 5  # type: ignore[misc]
