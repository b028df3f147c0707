"""`callgate simulate`: the simulated provider as a command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from callgate.cli.terminal import write_line

if TYPE_CHECKING:
    from callgate.testing.simulator import Simulator

__all__ = ["simulate"]

_QUOTAS = "Quotas, for each API key"
_TIME = "Time"
_ANSWERS = "Answers"
_FAULTS = "Faults and refusals"
_PRICES = "The bill"

_OWN = ("port", "ends_after", "stats_file", "quiet")  # all other options are those of the simulator


def _option(help_text: str, panel: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel)


def _switch(help_text: str, panel: str, name: str) -> Any:
    return typer.Option(name, help=help_text, rich_help_panel=panel, metavar=" ")


Port = Annotated[
    int,
    typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one: --port 8000"),
]
For = Annotated[float | None, typer.Option("--for", help="Stop after so many seconds: --for 60")]
StatsFile = Annotated[
    Path | None, typer.Option(help="Write the counts as JSON at the end: --stats-file s.json")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the base URL.", metavar=" ")]

Rpm = Annotated[float | None, _option("Requests per window: --rpm 600", _QUOTAS, "--rpm")]
Tpm = Annotated[float | None, _option("Tokens per window: --tpm 90000", _QUOTAS, "--tpm")]
InputTpm = Annotated[
    float | None, _option("Input tokens per window: --input-tpm 50000", _QUOTAS, "--input-tpm")
]
OutputTpm = Annotated[
    float | None, _option("Output tokens per window: --output-tpm 10000", _QUOTAS, "--output-tpm")
]
Concurrency = Annotated[int | None, _option("Requests in flight at once: --concurrency 8", _QUOTAS)]
WindowOption = Annotated[str, _option("sliding, fixed or bucket: --window bucket", _QUOTAS)]
WindowSeconds = Annotated[
    float, _option("Length of a window: --window-seconds 6 is 10 times faster", _QUOTAS)
]
Accounting = Annotated[
    str,
    _option(
        "How tokens are counted: reserve (input + max_tokens), settle (corrected by the real usage) "
        "or actual (input at the start, output as it is made): --accounting settle",
        _QUOTAS,
    ),
]
AssumedOutput = Annotated[
    int, _option("Tokens reserved without max_tokens: --assumed-output-tokens 100", _QUOTAS)
]
Headers = Annotated[
    str | None,
    _option("Quota headers: openai, azure, groq, anthropic, mistral, none: --headers groq", _QUOTAS),
]
RetryAfter = Annotated[
    list[str] | None,
    _option(
        "Form of Retry-After in a 429, repeatable: seconds, fraction, ms, date, body, none: --retry-after ms",
        _QUOTAS,
    ),
]

Latency = Annotated[float, _option("Median seconds to the first byte: --latency 0.8", _TIME)]
LatencySigma = Annotated[float, _option("Its spread (lognormal): --latency-sigma 0.4", _TIME)]
Speed = Annotated[float | None, _option("Output speed: --tokens-per-second 80", _TIME)]

Seed = Annotated[int, _option("Seed of answers and faults: --seed 7", _ANSWERS)]
OutputTokens = Annotated[int, _option("Median length of an answer: --output-tokens 200", _ANSWERS)]
OutputSigma = Annotated[float, _option("Its spread (lognormal): --output-sigma 0.5", _ANSWERS)]
Quick = Annotated[bool, _switch("Fastest mode: no latency, one text for all.", _ANSWERS, "--quick")]
Echo = Annotated[bool, _switch("Answer with the last user message.", _ANSWERS, "--echo")]
AnswerText = Annotated[
    list[str] | None, _option("The next answer, repeatable: --answer Yes --answer No", _ANSWERS)
]
ToolCalls = Annotated[str, _option("auto, always or never: --tool-calls always", _ANSWERS)]
ReasoningTokens = Annotated[
    int, _option("Length of the reasoning, when requested: --reasoning-tokens 50", _ANSWERS)
]
AlwaysReason = Annotated[bool, _switch("Always include reasoning.", _ANSWERS, "--always-reason")]
ContentFilter = Annotated[bool, _switch("Withhold every answer.", _ANSWERS, "--content-filter")]
CachedShare = Annotated[
    float, _option("Share of the input read from the prompt cache: --cached-share 0.5", _ANSWERS)
]

Fault = Annotated[
    list[str] | None,
    _option(
        "A fault and its rate, repeatable: --fault 500=0.02. One of 429, 500, 503, 529, reset, truncated, "
        "garbage, slow, stall, stream_error, oversized",
        _FAULTS,
    ),
]
FaultRetryAfter = Annotated[
    float, _option("Retry-After of an injected 429: --fault-retry-after 0.1", _FAULTS)
]
SlowSeconds = Annotated[float, _option("Delay of a `slow` answer: --slow-seconds 10", _FAULTS)]
StallSeconds = Annotated[float, _option("Silence of a `stall` answer: --stall-seconds 30", _FAULTS)]
OversizedBytes = Annotated[int, _option("Size of an `oversized` answer: --oversized-bytes 1000000", _FAULTS)]
Key = Annotated[list[str] | None, _option("A valid API key, repeatable: --key k1", _FAULTS)]
ModelName = Annotated[list[str] | None, _option("An existing model, repeatable: --model m1", _FAULTS)]
ContextTokens = Annotated[int | None, _option("Context length: --context-tokens 8192", _FAULTS)]
AwsSecret = Annotated[
    list[str] | None,
    _option("Verify Bedrock signatures with this key: --aws-secret AKID=SECRET", _FAULTS),
]
GoogleAccount = Annotated[
    list[str] | None,
    _option("Verify Google tokens with this public key: --google-account me@x.iam=key.pem", _FAULTS),
]

GoogleTokenSeconds = Annotated[
    float, _option("Lifetime of a Google token: --google-token-seconds 5", _FAULTS)
]
MaxContents = Annotated[
    int, typer.Option(help="Distinct requests that are counted one by one: --max-contents 100000")
]

InputPrice = Annotated[float, _option("Dollars per million input tokens: --input-price 0.15", _PRICES)]
OutputPrice = Annotated[float, _option("Dollars per million output tokens: --output-price 0.6", _PRICES)]
CachedPrice = Annotated[
    float | None, _option("Dollars per million cached input tokens: --cached-price 0.07", _PRICES)
]


def simulate(
    port: Port = 8000,
    ends_after: For = None,
    stats_file: StatsFile = None,
    quiet: Quiet = False,
    requests_per_minute: Rpm = None,
    tokens_per_minute: Tpm = None,
    input_tokens_per_minute: InputTpm = None,
    output_tokens_per_minute: OutputTpm = None,
    concurrency: Concurrency = None,
    window: WindowOption = "sliding",
    window_seconds: WindowSeconds = 60.0,
    accounting: Accounting = "reserve",
    assumed_output_tokens: AssumedOutput = 16,
    headers: Headers = None,
    retry_after: RetryAfter = None,
    latency: Latency = 0.0,
    latency_sigma: LatencySigma = 0.0,
    tokens_per_second: Speed = None,
    seed: Seed = 0,
    output_tokens: OutputTokens = 40,
    output_sigma: OutputSigma = 0.5,
    quick: Quick = False,
    echo: Echo = False,
    answer: AnswerText = None,
    tool_calls: ToolCalls = "auto",
    reasoning_tokens: ReasoningTokens = 0,
    always_reason: AlwaysReason = False,
    content_filter: ContentFilter = False,
    cached_share: CachedShare = 0.0,
    fault: Fault = None,
    fault_retry_after: FaultRetryAfter = 1.0,
    slow_seconds: SlowSeconds = 5.0,
    stall_seconds: StallSeconds = 300.0,
    oversized_bytes: OversizedBytes = 64 * 1024 * 1024,
    key: Key = None,
    model: ModelName = None,
    context_tokens: ContextTokens = None,
    aws_secret: AwsSecret = None,
    google_account: GoogleAccount = None,
    google_token_seconds: GoogleTokenSeconds = 3600.0,
    input_price: InputPrice = 0.0,
    output_price: OutputPrice = 0.0,
    cached_price: CachedPrice = None,
    max_contents: MaxContents = 2_000_000,
) -> None:
    """Simulate an LLM provider on this machine, with strict quotas, faults and counts.

    Example: callgate simulate --rpm 600 --fault 500=0.02 --latency 0.5

    GET /stats returns the counts as JSON, POST /reset sets them to zero. Ctrl-C stops it.
    """
    named = {name: value for name, value in locals().items() if name not in _OWN}
    try:
        simulator = _simulator(port, named)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    _run(_serve(simulator, ends_after, stats_file, quiet))


def _simulator(port: int, named: dict[str, Any]) -> Simulator:
    """A simulator with these options. Raises ValueError for values that cannot work."""
    # Imported late: the other commands do not need a server.
    from callgate.testing.simulator import Simulator

    named["answers"] = named.pop("answer") or ()
    named["faults"] = {name: _rate(name, text) for name, text in _pairs("--fault", named.pop("fault"))}
    named["keys"] = named.pop("key") or None
    named["models"] = named.pop("model") or None
    named["retry_after"] = tuple(named["retry_after"]) if named["retry_after"] else None
    named["aws_secrets"] = dict(_pairs("--aws-secret", named.pop("aws_secret")))
    accounts = _pairs("--google-account", named.pop("google_account"))
    named["google_accounts"] = {email: Path(path).read_text() for email, path in accounts}
    return Simulator(port=port, **named)


def _pairs(option: str, given: list[str] | None) -> list[tuple[str, str]]:
    pairs = []
    for text in given or ():
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise ValueError(f"{option} takes NAME=VALUE, not {text!r}")
        pairs.append((name, value))
    return pairs


def _rate(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--fault {name}={text}: the rate has to be a number from 0 to 1") from None


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop  # absent on Windows
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def _serve(
    simulator: Simulator, ends_after: float | None, stats_file: Path | None, quiet: bool
) -> None:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            loop.add_signal_handler(name, ended.set)
    timer = loop.call_later(ends_after, ended.set) if ends_after is not None else None
    try:
        await simulator.start()
    except OSError as error:
        write_line(f"callgate simulate: the port cannot be opened: {error}", err=True)
        raise typer.Exit(2) from None
    try:
        write_line(simulator.base_url)
        if not quiet:
            write_line(_how_to(simulator), err=True)
        await ended.wait()
    finally:
        if timer is not None:
            timer.cancel()
        await simulator.stop()
        if stats_file is not None:
            _write(stats_file, orjson.dumps(simulator.stats.as_dict(), option=orjson.OPT_INDENT_2))
        if not quiet:
            write_line(_summary(simulator), err=True)


def _how_to(simulator: Simulator) -> str:
    return (
        f"The simulated provider is running. Point a client at it:\n"
        f"  export OPENAI_BASE_URL={simulator.base_url} OPENAI_API_KEY=any\n"
        f"  export ANTHROPIC_BASE_URL={simulator.url} ANTHROPIC_API_KEY=any\n"
        f"Counts: curl {simulator.url}/stats      Ctrl-C stops it."
    )


def _summary(simulator: Simulator) -> str:
    stats = simulator.stats
    statuses = ", ".join(
        f"{count} x {status or 'reset'}" for status, count in sorted(stats.by_status.items())
    )
    lines = [
        f"{stats.requests} requests, {stats.accepted} accepted, {stats.refused} refused by a quota",
        f"answers: {statuses or 'none'}",
        f"faults: {', '.join(f'{count} x {name}' for name, count in stats.faults.items()) or 'none'}",
        f"contents: {len(stats.received_by_content)} different, {stats.paid_again} answers paid for again",
        f"tokens: {stats.input_tokens} in, {stats.output_tokens} out; bill: ${stats.bill:.4f}",
        f"at once: {stats.most_running} at most; {stats.abandoned} clients left before the end",
    ]
    for name, key in stats.keys.items():
        busiest = f"{key.used.busiest_requests} requests, {key.used.busiest_tokens:.0f} tokens"
        share = "" if key.used.requests_share is None else f", {key.used.requests_share:.1%} of the requests"
        lines.append(f"{name}: busiest window {busiest}{share}")
    return "\n".join(lines)


def _write(path: Path, data: bytes) -> None:
    """Write atomically: a reader never sees half of the file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)
