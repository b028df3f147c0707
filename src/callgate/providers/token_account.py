"""What a call costs against a provider's tokens per minute, and what its answers say of the quota.

Providers count differently: most OpenAI-compatible ones reserve `max_tokens` when a request arrives and keep
it; Anthropic and Groq leave cached input out. So the policy is data of the host, and this is its reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from callgate.call.calling import Calling
from callgate.policies.limit.estimate import TokenEstimator
from callgate.policies.limit.quota import QuotaNews
from callgate.providers.canonical.size import count_characters
from callgate.providers.host import Host
from callgate.providers.quota_headers import read_quota
from callgate.response import Response

__all__ = ["TokenAccount"]


class TokenAccount:
    """Estimates what a call will cost, and reads what it did cost.

    The estimate learns from the answers: characters per token, and how long this model's answers are.

    Example::

        account = TokenAccount(find_host("openai"))
        tokens = account.estimate(calling)      # reserved before the call
        tokens = account.actual(calling, response)  # settled after it
    """

    __slots__ = ("_estimator", "_family", "_policy", "_without_cache_reads")

    def __init__(self, host: Host | None = None) -> None:
        self._policy = "input_output" if host is None else host.reservation
        self._without_cache_reads = host is not None and not host.counts_cache_reads
        self._family = "any" if host is None else host.quota_headers
        self._estimator = TokenEstimator()

    def estimate(self, calling: Calling) -> float:
        """Tokens to reserve for the call."""
        payload = calling.payload
        if not isinstance(payload, Mapping):
            return 0.0
        return self._estimator.estimate(_size(calling, payload), _output_bound(payload), self._policy)

    def actual(self, calling: Calling, response: Response) -> float | None:
        """Tokens the provider counted for the answer; None when it does not tell."""
        usage = response.usage
        if usage is None:
            return None
        payload = calling.payload
        if isinstance(payload, Mapping):
            self._estimator.observe(_size(calling, payload), usage.input_tokens, usage.output_tokens)
            output: float = usage.output_tokens
            if self._policy == "max_tokens":
                output = max(output, _output_bound(payload) or 0)
        else:
            output = usage.output_tokens
        spared = usage.cache_read_tokens if self._without_cache_reads else 0
        return max(0.0, usage.input_tokens - spared + output)

    def news(self, headers: Mapping[str, str]) -> Sequence[QuotaNews]:
        """What the headers of an answer say of the quota."""
        return read_quota(self._family, headers)


def _size(calling: Calling, payload: Mapping[str, Any]) -> int:
    """Characters of the payload, counted once: for a long conversation that costs more than to encode it."""
    size = calling.size
    if size is None or size[0] is not payload:  # an answer that is asked for again has a new payload
        calling.size = size = (payload, count_characters(payload))
    return size[1]


def _output_bound(payload: Mapping[str, Any]) -> int | None:
    bound = payload.get("max_tokens") or payload.get("max_completion_tokens")
    return bound if isinstance(bound, int) and bound > 0 else None
