"""The simulator's options, validated on construction."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from callgate.testing.simulator.answers import Script
from callgate.testing.simulator.quota import WindowKind

__all__ = ["FAULTS", "Accounting", "HeaderFamily", "Options", "RetryAfterForm"]

Accounting = Literal["reserve", "settle", "actual"]
HeaderFamily = Literal["openai", "azure", "groq", "anthropic", "mistral", "none"]
RetryAfterForm = Literal["seconds", "fraction", "ms", "date", "body", "none"]

FAULTS: dict[str, str] = {
    "429": "a 429 although the quota has room",
    "500": "internal error",
    "503": "service unavailable",
    "529": "overloaded",
    "reset": "connection reset before any byte of the answer",
    "truncated": "connection closed in the middle of the body",
    "garbage": "status 200 with a body that is not JSON",
    "slow": "first byte only after `slow_seconds`",
    "stall": "silence in the middle of the body for `stall_seconds`",
    "stream_error": "an error event in the middle of a stream (plain answers are not affected)",
    "oversized": "a body of `oversized_bytes` bytes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Quotas, answers and faults of the simulated provider. Each field is a keyword of `Simulator(...)` and,
    with dashes, an option of `callgate simulate`.

    >>> Options(requests_per_minute=600, window="fixed").window_seconds
    60.0
    >>> Options(requests_per_minute=-1)
    Traceback (most recent call last):
        ...
    ValueError: simulator option requests_per_minute must be above 0, not -1
    """

    # Quotas, per API key.
    requests_per_minute: float | None = None
    """Requests admitted in one window. None: no limit."""
    tokens_per_minute: float | None = None
    """Tokens (input and output) admitted in one window. None: no limit."""
    input_tokens_per_minute: float | None = None
    """Input tokens admitted in one window, as Anthropic counts them apart. None: no limit."""
    output_tokens_per_minute: float | None = None
    """Output tokens admitted in one window. None: no limit."""
    concurrency: int | None = None
    """Concurrent requests of one key. None: no limit."""
    window: WindowKind = "sliding"
    """`sliding` (exact log), `fixed` (resets) or `bucket` (starts full, refills evenly)."""
    window_seconds: float = 60.0
    """Length of a quota "minute" in seconds: 0.6 runs a test a hundred times as fast."""
    accounting: Accounting = "reserve"
    """`reserve`: charges input + max_tokens at arrival. `settle`: the same, corrected to the usage at the
    end. `actual`: charges the input at arrival and the output at the end."""
    assumed_output_tokens: int = 16
    """Output tokens reserved for a request without max_tokens."""
    keys: Collection[str] | None = None
    """Accepted API keys; others get 401. None: any key, or no key."""
    models: Collection[str] | None = None
    """Existing models; others get 404. None: any model."""
    context_tokens: int | None = None
    """Input plus max_tokens above this is refused with the dialect's context-length error. None: no limit."""

    # Headers.
    headers: HeaderFamily | None = None
    """Family of quota headers; None: that of the request's dialect."""
    retry_after: RetryAfterForm | Collection[RetryAfterForm] | None = None
    """Form or forms of Retry-After in a 429; None: those of the dialect's real provider."""

    # Time.
    latency: float = 0.0
    """Median seconds to the first byte of an answer."""
    latency_sigma: float = 0.0
    """Spread of the latency: sigma of the lognormal distribution; 0 makes it constant."""
    tokens_per_second: float | None = None
    """Output speed after the first byte; added to the latency of plain answers. None: immediate."""

    # Answers.
    seed: int = 0
    """Equal seeds and contents give equal answers, latencies and faults, in any order of arrival."""
    output_tokens: int = 40
    """Median length of an answer, in tokens (words)."""
    output_sigma: float = 0.5
    """Spread of the length: sigma of the lognormal distribution; 0 makes it constant."""
    quick: bool = False
    """Fastest mode: no latency, and every answer is one text of `output_tokens` words."""
    echo: bool = False
    """Answer with the last user message."""
    answers: Script = ()
    """Scripted answers: a list, used in order of arrival (drawn answers follow), or a callable that takes the
    `Ask` and returns an answer or None. An answer is a text, a status number or an `Answer`."""
    tool_calls: Literal["auto", "always", "never"] = "auto"
    """Whether offered tools are called; `auto`: when tool_choice requires it or the prompt names the tool."""
    reasoning_tokens: int = 0
    """Length of the reasoning before an answer, when the request asks for reasoning."""
    always_reason: bool = False
    """Reason also when the request does not ask for it."""
    content_filter: bool = False
    """Every answer is blocked by the content filter."""
    cached_share: float = 0.0
    """Share of the input that the usage reports as cached, 0 to 1."""

    # Faults.
    faults: Mapping[str, float] = field(default_factory=dict)
    """Rate of each fault by name, 0 to 1, for example `{"500": 0.02, "reset": 0.01}`."""
    fault_retry_after: float = 1.0
    """Retry-After of an injected 429, in seconds."""
    slow_seconds: float = 5.0
    """Seconds that the fault `slow` adds to the latency."""
    stall_seconds: float = 300.0
    """Seconds of silence of the fault `stall` before the connection closes."""
    oversized_bytes: int = 64 * 1024 * 1024
    """Bytes that the fault `oversized` adds to the body."""

    # Prices in US dollars per million tokens.
    input_price: float = 0.0
    output_price: float = 0.0
    cached_price: float | None = None
    """Price of cached input; None: the input price."""

    # Keys of signed requests.
    aws_secrets: Mapping[str, str] = field(default_factory=dict)
    """AWS access key id -> secret key. When given, signatures of Bedrock requests are verified."""
    google_accounts: Mapping[str, str] = field(default_factory=dict)
    """Service account e-mail -> public key (PEM). When given, `/token` verifies the signature of each JWT,
    and Vertex requests need a token issued there."""
    google_token_seconds: float = 3600.0
    """Lifetime in seconds of a token issued by `/token`."""

    max_contents: int = 2_000_000
    """Distinct request contents counted individually; further ones are only summed."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"simulator option {name} must be above 0, not {value}")
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"simulator option {name} must not be negative, but is {value}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(_not_one_of(name, getattr(self, name), [str(choice) for choice in allowed]))
        for form in self.retry_after_forms or ():
            if form not in get_args(RetryAfterForm):
                raise ValueError(_not_one_of("retry_after", form, get_args(RetryAfterForm)))
        for fault, rate in self.faults.items():
            if fault not in FAULTS:
                raise ValueError(_not_one_of("faults", fault, FAULTS))
            if not 0 <= rate <= 1:
                raise ValueError(
                    f"simulator option faults: the rate of {fault!r} must lie in 0 to 1, not {rate}"
                )
        if sum(self.faults.values()) > 1 + 1e-9:
            raise ValueError(
                f"simulator option faults: the rates add up to {sum(self.faults.values()):g}, above 1"
            )
        if not 0 <= self.cached_share <= 1:
            raise ValueError(f"simulator option cached_share must lie in 0 to 1, not {self.cached_share}")

    @property
    def retry_after_forms(self) -> tuple[str, ...] | None:
        """`retry_after` as a tuple; None for the dialect's own forms."""
        if self.retry_after is None:
            return None
        return (self.retry_after,) if isinstance(self.retry_after, str) else tuple(self.retry_after)

    @classmethod
    def of(cls, **options: Any) -> Options:
        """Options from keywords. Raises TypeError for an unknown one, suggesting the closest name."""
        known = [option.name for option in fields(cls)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"
                raise TypeError(f"the simulator has no option {name!r}{hint}")
        return cls(**options)


_POSITIVE = (
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
    "concurrency",
    "window_seconds",
    "google_token_seconds",
    "tokens_per_second",
    "context_tokens",
    "output_tokens",
    "oversized_bytes",
    "max_contents",
)
_NOT_NEGATIVE = (
    "latency",
    "latency_sigma",
    "output_sigma",
    "assumed_output_tokens",
    "reasoning_tokens",
    "fault_retry_after",
    "slow_seconds",
    "stall_seconds",
    "input_price",
    "output_price",
    "cached_price",
)
_CHOICES: dict[str, tuple[object, ...]] = {
    "window": get_args(WindowKind),
    "accounting": get_args(Accounting),
    "headers": (None, *get_args(HeaderFamily)),
    "tool_calls": ("auto", "always", "never"),
}


def _not_one_of(option: str, value: object, allowed: Collection[str]) -> str:
    near = difflib.get_close_matches(str(value), list(allowed), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"simulator option {option}: {value!r} is not one of {', '.join(allowed)}{hint}"
