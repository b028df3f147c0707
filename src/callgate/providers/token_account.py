"""`TokenAccount`: estimates and reads the tokens of a call as its host counts them, and reads reported
quotas.

Hosts count differently: most OpenAI-compatible ones charge `max_tokens` to the quota when a request arrives;
Anthropic and Groq do not count cached input. These rules are data of the host (`Host.reservation`,
`Host.counts_cache_reads`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from callgate.call.calling import Calling
from callgate.policies.limit.estimate import TokenEstimator
from callgate.policies.limit.quota import QuotaNews
from callgate.providers.canonical.size import count_characters
from callgate.providers.host import Host
from callgate.providers.quota_headers import names_of, read_quota
from callgate.response import Response

__all__ = ["TokenAccount"]


class TokenAccount:
    """Estimates the tokens of a call, and reads the actual ones from its response.

    The estimate uses the characters per token and the length of the model's earlier responses.

    Example::

        account = TokenAccount(find_host("openai"))
        tokens = account.estimate(calling)      # reserved before the call
        tokens = account.actual(calling, response)  # settled after it
    """

    __slots__ = ("_estimator", "_family", "_policy", "_quota_names", "_without_cache_reads")

    def __init__(self, host: Host | None = None) -> None:
        self._policy = "input_output" if host is None else host.reservation
        self._without_cache_reads = host is not None and not host.counts_cache_reads
        self._family = "any" if host is None else host.quota_headers
        self._quota_names = names_of(self._family)
        self._estimator = TokenEstimator()

    def estimate(self, calling: Calling) -> float:
        """Tokens to reserve for the call."""
        size = calling.size
        if size is None or size[0] is not calling.payload:
            size = _measure(calling)
        return 0.0 if size is None else self._estimator.estimate(size[1], size[2], self._policy)

    def actual(self, calling: Calling, response: Response) -> float | None:
        """Tokens that the provider counted; None if the response does not report them."""
        usage = response.usage
        if usage is None:
            return None
        output: float = usage.output_tokens
        size = calling.size
        if size is None or size[0] is not calling.payload:
            size = _measure(calling)
        if size is not None:
            self._estimator.observe(size[1], usage.input_tokens, output)
            if self._policy == "max_tokens":
                output = max(output, size[2] or 0)
        spared = usage.cache_read_tokens if self._without_cache_reads else 0
        return max(0.0, usage.input_tokens - spared + output)

    def news(self, headers: Mapping[str, str]) -> Sequence[QuotaNews]:
        """The quotas that the headers of a response report."""
        return () if self._quota_names.isdisjoint(headers) else read_quota(self._family, headers)


def _measure(calling: Calling) -> tuple[Any, int, int | None] | None:
    """The payload, its characters and its bound on the output; None for a payload without fields.

    It is cached on the calling, because for a long conversation counting costs more than encoding. A request
    for another response (`structured`) has a new payload.
    """
    payload = calling.payload
    if type(payload) is not dict and not isinstance(payload, Mapping):
        return None
    bound = payload.get("max_tokens") or payload.get("max_completion_tokens")
    if not isinstance(bound, int) or bound <= 0:
        bound = None
    calling.size = size = (payload, count_characters(payload), bound)
    return size
