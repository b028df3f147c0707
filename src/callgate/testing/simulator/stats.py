"""The simulator's counters: an independent count to compare a client's figures with."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

__all__ = ["KeyStats", "Stats", "Utilisation", "content_of", "fingerprint"]

_EXACT = 50_000
_LOG = 100_000


def content_of(body: Mapping[str, Any]) -> int:
    """A hash of a request body: equal for equal JSON, whatever the order of its keys.

    >>> content_of({"model": "m", "n": 1}) == content_of({"n": 1, "model": "m"})
    True
    """
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(hashlib.blake2b(canonical, digest_size=8).digest(), "big")


def fingerprint(key: str) -> str:
    """The name under which an API key is counted; the key itself is never shown.

    >>> fingerprint("sk-secret").startswith("key-")
    True
    """
    if not key:
        return "anonymous"
    return "key-" + hashlib.blake2b(key.encode(), digest_size=4).hexdigest()


class Utilisation:
    """How much of its quota one key used, from the simulator's log of admitted requests.

    `busiest_requests` and `busiest_tokens` are the maxima over all windows of `window` seconds. Memory is
    bounded: a window of more than 50,000 requests is kept in slices of a ten-thousandth of the window,
    and `exact` is then false (the maxima may be too high by one slice).

    >>> used = Utilisation(window=60.0, requests_limit=2)
    >>> for time in (0.0, 30.0, 60.0):
    ...     entry = used.add(time, tokens=10)
    >>> used.busiest_requests, used.requests_share
    (2, 1.0)
    """

    __slots__ = (
        "_grain",
        "_held_requests",
        "_held_tokens",
        "_log",
        "_newest_tokens",
        "_trail",
        "busiest_requests",
        "busiest_tokens",
        "first",
        "last",
        "requests",
        "requests_limit",
        "tokens",
        "tokens_limit",
        "window",
    )

    def __init__(
        self, window: float, requests_limit: float | None = None, tokens_limit: float | None = None
    ) -> None:
        self.window = window
        self.requests_limit = requests_limit
        self.tokens_limit = tokens_limit
        self.requests = 0
        self.tokens = 0.0
        self.first: float | None = None
        self.last = 0.0
        self.busiest_requests = 0
        self.busiest_tokens = 0.0
        self._log: deque[list[float]] = deque(maxlen=_LOG)
        self._newest_tokens = 0.0
        self._trail: deque[list[float]] = deque()
        self._held_requests = 0
        self._held_tokens = 0.0
        self._grain = 0.0

    @property
    def exact(self) -> bool:
        """Whether the busiest window is exact."""
        return self._grain == 0.0

    @property
    def requests_share(self) -> float | None:
        """Share of the request quota used between the first and the last request. 1.0 is a perfectly paced
        client; a burst of a whole window at the start gives more."""
        return self._share(self.requests - 1, self.requests_limit)

    @property
    def tokens_share(self) -> float | None:
        """The same for tokens, without those of the last request, whose window has not passed."""
        return self._share(self.tokens - self._newest_tokens, self.tokens_limit)

    def _share(self, used: float, limit: float | None) -> float | None:
        if limit is None or self.first is None or self.last <= self.first:
            return None
        return used / (limit * (self.last - self.first) / self.window)

    def add(self, time: float, tokens: float) -> list[float]:
        """Count a request admitted at `time` seconds that took `tokens` from the quota.

        Returns the entry that `correct` takes.
        """
        if self.first is None:
            self.first = time
        self.last = time
        self.requests += 1
        self.tokens += tokens
        self._newest_tokens = tokens
        trail, horizon = self._trail, time - self.window + 1e-9
        while trail and trail[0][0] <= horizon:
            _, amount, count = trail.popleft()
            self._held_requests -= int(count)
            self._held_tokens -= amount
        if self._grain and trail and time - trail[-1][0] <= self._grain:
            entry = trail[-1]
            entry[1] += tokens
            entry[2] += 1
        else:
            entry = [time, tokens, 1]
            trail.append(entry)
            self._log.append(entry)
            if len(trail) > _EXACT:
                self._grain = self.window / 10_000
        self._held_requests += 1
        self._held_tokens += tokens
        self.busiest_requests = max(self.busiest_requests, self._held_requests)
        self.busiest_tokens = max(self.busiest_tokens, self._held_tokens)
        return entry

    def correct(self, entry: list[float], tokens: float) -> None:
        """Add `tokens` (may be negative) to an earlier request."""
        entry[1] += tokens
        self.tokens += tokens
        if self._trail and entry[0] >= self._trail[0][0]:
            self._held_tokens += tokens
            self.busiest_tokens = max(self.busiest_tokens, self._held_tokens)

    @property
    def log(self) -> list[tuple[float, float]]:
        """Time and tokens of the newest 100,000 admitted requests (slices, when not exact)."""
        return [(time, tokens) for time, tokens, _ in self._log]

    def as_dict(self) -> dict[str, Any]:
        """These figures as JSON types."""
        return {
            "window_seconds": self.window,
            "requests_limit": self.requests_limit,
            "tokens_limit": self.tokens_limit,
            "first": self.first,
            "last": self.last if self.first is not None else None,
            "busiest_requests": self.busiest_requests,
            "busiest_tokens": self.busiest_tokens,
            "requests_share": self.requests_share,
            "tokens_share": self.tokens_share,
            "exact": self.exact,
        }


@dataclass(slots=True)
class KeyStats:
    """Counters of one API key."""

    used: Utilisation
    requests: int = 0
    """Requests that arrived with this key."""
    accepted: int = 0
    """Admitted by the quotas, including those that then met a fault."""
    refused: int = 0
    """Refused by a quota (an injected 429 is a fault, not a refusal)."""
    by_status: Counter[int] = field(default_factory=Counter)
    """Answers by status; a reset before the status line counts as 0."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    bill: float = 0.0
    """US dollars for every answer made, including answers cut off by a fault."""

    def as_dict(self) -> dict[str, Any]:
        """These figures as JSON types."""
        return {
            "requests": self.requests,
            "accepted": self.accepted,
            "refused": self.refused,
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "bill": self.bill,
            "used": self.used.as_dict(),
        }


class Stats:
    """All counters since the start or the last reset.

    >>> stats = Stats(window=60.0)
    >>> stats.requests, stats.bill, stats.paid_again
    (0, 0.0, 0)
    """

    def __init__(
        self,
        window: float,
        requests_limit: float | None = None,
        tokens_limit: float | None = None,
        max_contents: int = 2_000_000,
    ) -> None:
        self._limits = (window, requests_limit, tokens_limit)
        self._max_contents = max_contents
        self.running = 0
        """Requests in progress now; a reset leaves them running."""
        self.reset()

    def reset(self) -> None:
        """Reset the counters. Quotas are not changed."""
        self.keys: dict[str, KeyStats] = {}
        """By the key's fingerprint; `key()` finds them by the key itself."""
        self._open: dict[str, KeyStats] = {}
        self.received_by_content: dict[int, int] = {}
        """Requests by `content_of(body)`, whatever became of them."""
        self.answered_by_content: dict[int, int] = {}
        """Answers made (and billed) by content."""
        self.faults: Counter[str] = Counter()
        self.abandoned = 0
        """Clients that left before their answer had ended."""
        self.uncounted_contents = 0
        """Requests whose content was not counted by itself, because there were too many different ones."""
        self.most_running = self.running
        """The most requests that were in progress at once, over all keys."""

    def key(self, key: str = "") -> KeyStats:
        """The counts of this API key (all zero if it never called)."""
        return self._open.get(key) or KeyStats(Utilisation(*self._limits))

    def open(self, key: str) -> KeyStats:
        """The counts of this API key, begun now if it is new."""
        counts = self._open.get(key)
        if counts is None:
            counts = self._open[key] = KeyStats(Utilisation(*self._limits))
            self.keys[fingerprint(key)] = counts
        return counts

    @property
    def used(self) -> Utilisation:
        """The utilisation of the only key that called. Raises ValueError when there were several."""
        if len(self.keys) > 1:
            raise ValueError(f"{len(self.keys)} keys have called: ask stats.key(KEY).used for one of them")
        return next(iter(self.keys.values())).used if self.keys else Utilisation(*self._limits)

    @property
    def requests(self) -> int:
        return sum(key.requests for key in self.keys.values())

    @property
    def accepted(self) -> int:
        return sum(key.accepted for key in self.keys.values())

    @property
    def refused(self) -> int:
        return sum(key.refused for key in self.keys.values())

    @property
    def answered(self) -> int:
        """Requests that got status 200, whole or not."""
        return self.by_status[200]

    @property
    def by_status(self) -> Counter[int]:
        total: Counter[int] = Counter()
        for key in self.keys.values():
            total.update(key.by_status)
        return total

    @property
    def input_tokens(self) -> int:
        return sum(key.input_tokens for key in self.keys.values())

    @property
    def output_tokens(self) -> int:
        return sum(key.output_tokens for key in self.keys.values())

    @property
    def bill(self) -> float:
        """US dollars, over all keys."""
        return sum((key.bill for key in self.keys.values()), 0.0)

    @property
    def paid_again(self) -> int:
        """Answers made beyond the first for the same content: what a client paid for more than once."""
        return sum(count - 1 for count in self.answered_by_content.values())

    def received(self, body: Mapping[str, Any]) -> int:
        """How often exactly this request body arrived."""
        return self.received_by_content.get(content_of(body), 0)

    def answered_for(self, body: Mapping[str, Any]) -> int:
        """How often an answer was made, and billed, for exactly this request body."""
        return self.answered_by_content.get(content_of(body), 0)

    def arrived(self, content: int) -> int:
        """Count a content that arrived; its number among the arrivals of the same content, from 1."""
        seen = self.received_by_content.get(content, 0)
        if seen == 0 and len(self.received_by_content) >= self._max_contents:
            self.uncounted_contents += 1
            return self.uncounted_contents
        self.received_by_content[content] = seen + 1
        return seen + 1

    def made(self, content: int) -> None:
        """Count an answer made for a content."""
        if content in self.received_by_content:
            self.answered_by_content[content] = self.answered_by_content.get(content, 0) + 1

    def as_dict(self, *, contents: bool = False) -> dict[str, Any]:
        """Everything as JSON types; `contents` adds the count of every single content, by its hex number."""
        figures: dict[str, Any] = {
            "requests": self.requests,
            "accepted": self.accepted,
            "refused": self.refused,
            "answered": self.answered,
            "abandoned": self.abandoned,
            "running": self.running,
            "most_running": self.most_running,
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "faults": dict(self.faults),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "bill": self.bill,
            "contents": {
                "different": len(self.received_by_content),
                "answered": len(self.answered_by_content),
                "paid_again": self.paid_again,
                "uncounted": self.uncounted_contents,
            },
            "keys": {name: key.as_dict() for name, key in self.keys.items()},
        }
        if contents:
            figures["received_by_content"] = {f"{c:016x}": n for c, n in self.received_by_content.items()}
            figures["answered_by_content"] = {f"{c:016x}": n for c, n in self.answered_by_content.items()}
        return figures
