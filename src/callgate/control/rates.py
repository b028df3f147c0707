"""Both rates of a limiter, requests and tokens: whose quota is in force, and what fits into both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from callgate.control.quota import Quota, QuotaNews, Resource
from callgate.control.snapshot import RateSnapshot
from callgate.control.window import RateWindow

if TYPE_CHECKING:
    from callgate.control.lease import Lease

__all__ = ["Rates"]

# The period of a limit that a provider tells without one: nearly all count by the minute.
LEARNED_PERIOD = 60.0


class _Authority:
    """Who says what one resource's quota is: the user, the provider's answers, the tighter of them."""

    __slots__ = ("learned", "newest", "own")

    def __init__(self, own: Quota | None) -> None:
        self.own = own
        self.learned: Quota | None = None
        self.newest = 0  # the order of the latest call whose news were taken

    def in_force(self) -> Quota | None:
        own, learned = self.own, self.learned
        if own is None or learned is None:
            return own or learned
        return learned if learned.per_second < own.per_second else own

    def take_note(self, limit: float | None, period: float | None) -> None:
        """Keep the provider's limit; some write -1 or 0 for one they do not know."""
        if limit is None or not 0.0 < limit < math.inf:
            return
        if period is None or not 0.0 < period < math.inf:
            period = LEARNED_PERIOD if self.own is None else self.own.period
        if self.learned is None or (self.learned.rate, self.learned.period) != (limit, period):
            self.learned = Quota(limit, period)


class Rates:
    """Requests and tokens. A call costs one request and some tokens, and needs both at the same moment.

    No I/O, and no clock: times are passed in.
    """

    __slots__ = ("_authorities", "requests", "tokens")

    def __init__(self, requests: Quota | None, tokens: Quota | None) -> None:
        self._authorities: dict[Resource, _Authority] = {
            "requests": _Authority(requests),
            "tokens": _Authority(tokens),
        }
        self.requests: RateWindow | None = None
        self.tokens: RateWindow | None = None
        self.restart()

    def restart(self) -> None:
        """Begin anew, full, on a clock whose times cannot be compared with those before."""
        self.requests = self.tokens = None
        for resource in self._authorities:
            self._apply(resource, -math.inf)

    def fits(self, tokens: float, now: float) -> bool:
        """Whether a call fits now."""
        window = self.requests
        if window is not None and window.wait(1.0, now) > 0.0:
            return False
        window = self.tokens
        return window is None or window.wait(tokens, now) <= 0.0

    def wait(self, tokens: float, now: float) -> tuple[float, Resource]:
        """Seconds until a call fits, and the resource that takes the longer."""
        first = 0.0 if self.requests is None else self.requests.wait(1.0, now)
        second = 0.0 if self.tokens is None else self.tokens.wait(tokens, now)
        return (second, "tokens") if second > first else (first, "requests")

    def eta(self, calls: int, ahead: float, tokens: float, now: float) -> float:
        """A lower bound of the seconds until a call fits behind `calls` others that cost `ahead` tokens."""
        first = 0.0 if self.requests is None else self.requests.eta(calls, 1.0, now)
        second = 0.0 if self.tokens is None else self.tokens.eta(ahead, tokens, now)
        return max(first, second)

    def take(self, lease: Lease, now: float) -> None:
        """Debit a lease that fits, and note on it what settling and news will need."""
        window = self.requests
        if window is not None:
            lease._request_slot = window.take(1.0, now)
            lease._requests_mark = window.charged
        window = self.tokens
        if window is not None:
            lease._token_slot = window.take(lease.tokens, now)
            lease._tokens_mark = window.charged

    def settle(self, lease: Lease, tokens: float, now: float) -> None:
        """Put the actual tokens in the place of what is charged for the lease."""
        window = self.tokens
        if window is not None:
            lease.tokens = window.settle(lease._token_slot, lease.tokens, tokens, now)
        elif 0.0 <= tokens < math.inf:
            lease.tokens = tokens

    def refund(self, lease: Lease, now: float) -> None:
        """Give back everything that is charged for the lease."""
        self.settle(lease, 0.0, now)
        if self.requests is not None:
            lease._requests = self.requests.settle(lease._request_slot, lease._requests, 0.0, now)

    def set_quota(self, resource: Resource, quota: Quota | None, now: float) -> None:
        """Set or remove the user's own quota."""
        self._authorities[resource].own = quota
        self._apply(resource, now)

    def learn(self, news: QuotaNews, lease: Lease | None, now: float) -> None:
        """Take the provider's limit where it is the tighter, and its word on what remained.

        News of a call that was sent before the latest one heard of are dropped.
        """
        resource = news.resource
        authority = self._authorities[resource]
        if lease is not None:
            if lease.order < authority.newest:
                return
            authority.newest = lease.order
        authority.take_note(news.limit, news.period)
        self._apply(resource, now)
        window = self.requests if resource == "requests" else self.tokens
        if window is None or news.remaining is None:
            return
        since, sent_at = 0.0, None
        if lease is not None:
            mark = lease._requests_mark if resource == "requests" else lease._tokens_mark
            since, sent_at = max(0.0, window.charged - mark), lease.granted_at
        window.tighten(news.remaining, news.reset_after, now, since, sent_at)

    def snapshot(self, resource: Resource, now: float) -> RateSnapshot | None:
        """The state of one resource; None where it is not limited."""
        window = self.requests if resource == "requests" else self.tokens
        if window is None:
            return None
        learned = window.quota is not self._authorities[resource].own
        return RateSnapshot(window.quota, learned, window.level(now), window.used(now))

    def _apply(self, resource: Resource, now: float) -> None:
        quota = self._authorities[resource].in_force()
        window = self.requests if resource == "requests" else self.tokens
        if quota is None:
            if window is not None:
                window.retire()
            window = None
        elif window is None:
            window = RateWindow(quota, now)
        else:
            window.configure(quota, now)
        if resource == "requests":
            self.requests = window
        else:
            self.tokens = window
