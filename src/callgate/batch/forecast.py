"""`--dry-run`: what a batch will come to, from its whole input and without a call.

It learns from the answers that are already in the output: how many tokens the model makes of a character,
how long its answers are and how long they take. So a run of the first fifty rows makes the forecast for the
rest a good one; without any answers it is a range.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import orjson

from callgate.batch.finished import Finished, read_output
from callgate.batch.rows import Row
from callgate.batch.sources import Source
from callgate.caller import Caller
from callgate.calling import Calling
from callgate.control.quota import Quota
from callgate.control.snapshot import LimiterSnapshot
from callgate.control.window import PACED_BURST_SECONDS
from callgate.providers.request_size import count_characters
from callgate.response import Usage

__all__ = ["Forecast", "Sample", "forecast", "read_sample"]

_CHARACTERS_PER_TOKEN = 4.0
_UNBOUNDED_OUTPUT = 256


@dataclass(slots=True)
class Sample:
    """What earlier answers tell.

    Attributes:
        finished: Which rows have been answered.
        answers: How many answers told their usage, those from the cache left out.
        input_tokens, output_tokens: Of these answers.
        seconds: Their time on the wire, together.
    """

    finished: Finished
    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the rows that are left will come to.

    Attributes:
        rows: Rows to be called.
        answered_before: Rows that an earlier run has answered.
        learned_from: Answers that the figures were learned from; 0: none, so they are rough.
        input_tokens: What the model will read.
        output_tokens: What it will probably write.
        output_tokens_most: What it can write at most; None: nothing bounds it.
        cost_usd: What that probably costs, without retries; None: the price is not known.
        cost_least_usd, cost_most_usd: The same with no output at all, and with all that is possible.
        seconds: How long it takes under the limits that are known; None: none is.
        bottleneck: In words, what it will wait for.
    """

    rows: int
    answered_before: int
    learned_from: int
    input_tokens: int
    output_tokens: int
    output_tokens_most: int | None
    cost_usd: float | None
    cost_least_usd: float | None
    cost_most_usd: float | None
    seconds: float | None
    bottleneck: str

    def to_dict(self) -> dict[str, Any]:
        """Its fields, ready for JSON."""
        return asdict(self)


def read_sample(output: str) -> Sample:
    """Learn from an output; one that is not there teaches nothing. The file is not touched.

    Raises:
        InputError: when it is something else than the output of a batch.
    """
    try:
        with open(output, "rb") as stream:
            sample = Sample(read_output(stream, output)[0])
            stream.seek(0)
            for line in stream:
                _learn(sample, line)
    except FileNotFoundError:
        return Sample(Finished())
    return sample


def _learn(sample: Sample, line: bytes) -> None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return  # blank, or torn by a kill
    usage = record.get("usage")
    if record.get("error") is None and isinstance(usage, dict) and not record.get("cached"):
        sample.answers += 1
        sample.input_tokens += usage.get("input_tokens", 0)
        sample.output_tokens += usage.get("output_tokens", 0)
        sample.seconds += record.get("latency_s", 0.0)


class _Sums:
    """What is added up over the rows that are left."""

    __slots__ = ("bounded", "characters", "most", "rows", "skipped", "skipped_characters", "widest")

    def __init__(self) -> None:
        self.rows = self.skipped = self.characters = self.skipped_characters = self.most = 0
        self.bounded = True
        self.widest: Row | None = None


async def forecast(
    model: Caller, source: Source, sample: Sample, *, concurrency: int | None = None
) -> Forecast:
    """Read the whole input and foretell the rest of the batch.

    Args:
        model: What would be called; its limits, prices and defaults count. It is not called.
        source: Where the rows come from; read to its end.
        sample: What is known from earlier answers.
        concurrency: Calls at once, where that is fixed; one that adapts itself is no limit.

    Raises:
        InputError: naming the file and the line, when a row cannot be used.
    """
    sums = _add_up(source, sample)
    ratio = 1 / _CHARACTERS_PER_TOKEN
    # Only where the answers are those of the rows that are skipped: none cached, none of another input.
    if sample.input_tokens and sums.skipped_characters and sums.skipped == sample.answers:
        ratio = sample.input_tokens / sums.skipped_characters
    tokens = round(sums.characters * ratio)
    if sample.answers:
        output = round(sums.rows * sample.output_tokens / sample.answers)
    else:
        # Nobody knows: in the middle between nothing and all that is allowed.
        output = sums.most // 2 if sums.bounded else sums.rows * _UNBOUNDED_OUTPUT
    most = sums.most if sums.bounded else None
    if most is not None:
        output = min(output, most)
    calling = None
    if sums.widest is not None:
        calling = await model.create_calling(request_payload=sums.widest.request)
    latency = sample.seconds / sample.answers if sample.answers else 0.0
    # A provider that reserves all of max_tokens takes them from the quota, however little is written.
    reserved = tokens + (output if most is None or _settles(calling) else most)
    seconds, bottleneck = _time(model.limiter.snapshot(), concurrency, sums.rows, reserved, latency)
    return Forecast(
        rows=sums.rows,
        answered_before=sums.skipped,
        learned_from=sample.answers,
        input_tokens=tokens,
        output_tokens=output,
        output_tokens_most=most,
        cost_usd=_cost(calling, sums.rows, tokens, output),
        cost_least_usd=_cost(calling, sums.rows, tokens, 0),
        cost_most_usd=None if most is None else _cost(calling, sums.rows, tokens, most),
        seconds=seconds,
        bottleneck=bottleneck,
    )


def _add_up(source: Source, sample: Sample) -> _Sums:
    sums = _Sums()
    for block in source.blocks():
        for row in block:
            size = count_characters(row.request)
            if sample.finished.take(row.key):
                sums.skipped += 1
                sums.skipped_characters += size
                continue
            sums.rows += 1
            sums.characters += size
            sums.widest = row
            longest = row.request.get("max_completion_tokens") or row.request.get("max_tokens")
            if isinstance(longest, int):
                sums.most += longest
            else:
                sums.bounded = False
    return sums


def _cost(calling: Calling | None, rows: int, tokens: int, output: int) -> float | None:
    """What all rows cost, at the prices of an average one: some models ask more for long requests."""
    if calling is None:
        return 0.0
    read, written = -(-tokens // rows), -(-output // rows)
    one = None if calling.pricer is None else calling.pricer(Usage(read, written), calling)
    if one is None:
        return None
    return (one.input * tokens / read if read else 0.0) + (one.output * output / written if written else 0.0)


def _settles(calling: Calling | None) -> bool:
    """Whether the provider counts what was written, and not what might have been."""
    host = None if calling is None else getattr(calling.backend, "host", None)
    return host is None or host.reservation == "input_output"


def _paced(amount: float, quota: Quota) -> float:
    """Seconds until a quota has let so many units through, beginning with its burst."""
    burst = quota.capacity
    if burst is None:
        burst = min(quota.rate, quota.per_second * PACED_BURST_SECONDS)
    return max(0.0, amount - burst) / quota.per_second


def _time(
    limiter: LimiterSnapshot, concurrency: int | None, rows: int, tokens: int, latency: float
) -> tuple[float | None, str]:
    """Seconds under the limits that are known, and what will be waited for most."""
    waits: dict[str, float] = {}
    if limiter.requests is not None:
        waits["requests per minute"] = _paced(rows, limiter.requests.quota)
    if limiter.tokens is not None:
        waits["tokens per minute"] = _paced(tokens, limiter.tokens.quota)
    if latency and concurrency is not None:
        waits[f"concurrency, {concurrency} at once"] = rows * latency / concurrency
    if not rows:
        return 0.0, "nothing"
    if not waits:
        return None, "not known: no limits are given, and nothing was answered before"
    longest = max(waits, key=lambda name: waits[name])
    return waits[longest] + latency, longest
