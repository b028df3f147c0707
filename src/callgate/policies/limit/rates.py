"""`Rates`: the quotas of a gate for requests and tokens, the user's and those that the provider reports."""

from __future__ import annotations

import math
from typing import Final

from callgate.policies.limit.lease import Lease
from callgate.policies.limit.quota import Quota, QuotaNews, Resource
from callgate.policies.limit.snapshot import RateSnapshot
from callgate.policies.limit.window import RateWindow

__all__ = ["Rates"]

# Seconds of a learned limit whose period is not given: nearly all providers count by the minute.
LEARNED_PERIOD: Final = 60.0


class _Resource:
    """The windows of one resource: of the user's quota, and of the provider's unless the user's implies it.

    Both are needed if their periods differ: 500 per minute is less than 10 per second, but allows 40 in one
    second.
    """

    __slots__ = ("learned", "newest", "own", "windows")

    def __init__(self, own: Quota | None, now: float) -> None:
        self.own: RateWindow | None = None
        self.learned: RateWindow | None = None
        self.newest = 0  # the order of the latest call whose report was used
        self.windows: tuple[RateWindow, ...] = ()
        self.set_own(own, now)

    def set_own(self, quota: Quota | None, now: float) -> None:
        self.own = _configured(self.own, quota, now)
        self._arrange()

    def adopt(self, limit: float | None, period: float | None, now: float) -> bool:
        """Set the provider's limit; returns True if it has changed."""
        if limit is None or not 0.0 < limit < math.inf:
            return False  # some providers send -1 or 0 for an unknown limit
        if period is None or not 0.0 < period < math.inf:
            period = LEARNED_PERIOD if self.own is None else self.own.quota.period
        known = self.learned
        if known is not None and (known.quota.rate, known.quota.period) == (limit, period):
            return False
        self.learned = _configured(known, Quota(limit, period), now)
        self._arrange()
        return True

    def _arrange(self) -> None:
        own, learned = self.own, self.learned
        if own is not None and learned is not None and _implies(own, learned.quota):
            learned = None
        self.windows = tuple(window for window in (own, learned) if window is not None)


class Rates:
    """Requests and tokens. A call costs one request and some tokens, and needs both at the same moment.

    No I/O, and no clock: times are passed in.

    Attributes:
        requests: The windows that every call must fit into, with a cost of 1.
        tokens: The windows that its tokens must fit into.
        most_tokens: The most tokens of one call; a larger call is never admitted.
    """

    __slots__ = ("_resources", "most_tokens", "requests", "tokens")

    def __init__(self, requests: Quota | None, tokens: Quota | None, now: float) -> None:
        self._resources: dict[Resource, _Resource] = {
            "requests": _Resource(requests, now),
            "tokens": _Resource(tokens, now),
        }
        self.requests: tuple[RateWindow, ...] = ()
        self.tokens: tuple[RateWindow, ...] = ()
        self.most_tokens = math.inf
        self._refresh()

    def restarted(self, now: float) -> Rates:
        """The same quotas of the user, unused, for a clock with other times."""
        own = {name: None if r.own is None else r.own.quota for name, r in self._resources.items()}
        return Rates(own["requests"], own["tokens"], now)

    def wait(self, tokens: float, now: float) -> tuple[float, Resource]:
        """Seconds until a call fits, and the resource that takes the longer."""
        longest = 0.0
        resource: Resource = "requests"
        for window in self.requests:
            longest = max(longest, window.wait(1.0, now))
        for window in self.tokens:
            wait = window.wait(tokens, now)
            if wait > longest:
                longest, resource = wait, "tokens"
        return longest, resource

    def eta(self, calls: int, ahead: float, tokens: float, now: float) -> float:
        """A lower bound of the seconds until a call fits behind `calls` others that cost `ahead` tokens."""
        longest = 0.0
        for window in self.requests:
            longest = max(longest, window.eta(calls, 1.0, now))
        for window in self.tokens:
            longest = max(longest, window.eta(ahead, tokens, now))
        return longest

    def seconds_per_call(self, tokens: float) -> float:
        """Seconds in which the quotas refill the cost of a call; infinity if none limits it."""
        slowest = max((1.0 / window.quota.per_second for window in self.requests), default=0.0)
        for window in self.tokens:
            slowest = max(slowest, tokens / window.quota.per_second)
        return slowest or math.inf

    def set_quota(self, resource: Resource, quota: Quota | None, now: float) -> None:
        """Set or remove the user's own quota."""
        self._resources[resource].set_own(quota, now)
        self._refresh()

    def learn(self, news: QuotaNews, lease: Lease | None, now: float) -> bool:
        """Adjust to a report of the quota; returns True if the provider's limit has changed.

        A report is dropped if one of a call that was sent later has been used.
        """
        resource = self._resources[news.resource]
        if lease is not None:
            if lease.order < resource.newest:
                return False
            resource.newest = lease.order
        changed = resource.adopt(news.limit, news.period, now)
        if changed:
            self._refresh()
        if news.remaining is not None and resource.windows:
            window = resource.windows[-1]
            if lease is None:
                window.tighten(news.remaining, news.reset_after, now)
            else:
                charged, used = lease.marks(news.resource, window)
                window.tighten(
                    news.remaining,
                    news.reset_after,
                    now,
                    window.charged - charged,
                    sent_at=lease.granted_at,
                    used_since=window.used(now) - used,
                )
        return changed

    def pushed_back(self, now: float) -> None:
        """Report a 429 that came although the quotas were kept: they are reduced for some time."""
        for window in self.requests + self.tokens:
            window.pushed_back(now)

    def snapshot(self, resource: Resource, now: float) -> RateSnapshot | None:
        """The state of one resource, by the slower of its quotas; None where it is not limited."""
        windows = self._resources[resource].windows
        if not windows:
            return None
        window = min(windows, key=lambda window: window.quota.per_second)
        learned = window is self._resources[resource].learned
        return RateSnapshot(window.quota, learned, window.level(now), window.used(now))

    def _refresh(self) -> None:
        self.requests = self._resources["requests"].windows
        self.tokens = self._resources["tokens"].windows
        self.most_tokens = min((window.ceiling for window in self.tokens), default=math.inf)


def _configured(window: RateWindow | None, quota: Quota | None, now: float) -> RateWindow | None:
    if quota is None:
        return None
    if window is None:
        return RateWindow(quota, now)
    window.configure(quota, now)
    return window


def _implies(own: RateWindow, learned: Quota) -> bool:
    """Whether keeping the user's quota keeps the provider's."""
    whole_periods = max(1, math.ceil(learned.period / own.quota.period))
    return learned.rate >= own.ceiling * whole_periods
