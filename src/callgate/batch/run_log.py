"""What a run was and how it went, kept beside its output for the report: `OUTPUT.runs.jsonl`.

A run adds a line with its settings, then one now and then with its counts and quotas, and a last one with its
ending. A killed run has no last line. The report reads them; nothing else depends on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from callgate.batch.options import RunOptions
from callgate.batch.output.line_file import LineFile, open_lines
from callgate.batch.output.paths import runs_path
from callgate.batch.progress import Progress
from callgate.batch.run import BatchRun, Summary
from callgate.batch.stats import EndpointStats
from callgate.errors import InputError
from callgate.model.spread import Spread
from callgate.policies.limit.snapshot import LimiterSnapshot, RateSnapshot
from callgate.transport.keys import hide_secrets, hide_user

__all__ = ["RunLog", "run_facts", "settings_to_dict"]

# Seconds between two lines, by the seconds that the run has taken: a day leaves some 1,700 lines.
_INTERVALS = ((60.0, 2.0), (3600.0, 10.0), (float("inf"), 60.0))
_LONGEST = 2000


class RunLog:
    """Logs one run, from within its loop. The file is made when the first call has ended.

    Args:
        output: The output's path.
        batch: The run.
        facts: What the first line holds besides the time.
        clock: Returns the seconds since 1970.

    Raises:
        InputError: when the file is there and cannot be used.

    Example::

        log = RunLog("out.jsonl", batch, {"version": "0.1.0"}, time.time)
        summary = await batch.run(journal)
        log.end(summary)
        log.close()
    """

    def __init__(
        self, output: str, batch: BatchRun, facts: dict[str, Any], clock: Callable[[], float]
    ) -> None:
        self._batch = batch
        self._clock = clock
        self._path = runs_path(output)
        self._file: LineFile | None = None
        self._first: dict[str, Any] | None = {"began_at": round(clock(), 3), **facts}
        self.error: InputError | None = None
        """Why nothing more is logged, or None."""
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._timer = self._loop.call_later(_INTERVALS[0][1], self._tick)

    def end(self, summary: Summary) -> None:
        """Log the end of the run."""
        self._timer.cancel()
        more = {"ending": summary.ending, "message": summary.message}
        self._write(summary.progress, more)

    def close(self) -> None:
        """Close the file; a run that has not ended is left as if it was killed."""
        self._timer.cancel()
        if self._file is not None:
            self._file.close()

    def _tick(self) -> None:
        self._write(self._batch.progress(), {})
        seconds = self._loop.time() - self._began
        interval = next(interval for until, interval in _INTERVALS if seconds < until)
        self._timer = self._loop.call_later(interval, self._tick)

    def _write(self, progress: Progress, more: dict[str, Any]) -> None:
        stats = progress.stats
        if self.error is not None or not (stats.calls or stats.ended):
            return  # a run that finds all rows answered leaves no trace
        try:
            if self._file is None:
                self._file = open_lines(self._path)
                self._file.cut_torn()
            if self._first is not None:
                self._file.pending.append(_encode(self._first))
                self._first = None
            self._file.pending.append(_encode(self._facts(progress) | more))
            self._file.flush()
        except InputError as error:
            # The answers are worth more than this file.
            self.error = error

    def _facts(self, progress: Progress) -> dict[str, Any]:
        stats = progress.stats
        return {
            "at": round(self._clock(), 3),
            "answered": stats.done,
            "failed": stats.failed,
            "cached": stats.cached,
            "calls": stats.calls,
            "retries": stats.retries,
            "moves": stats.moves,
            "hedges": stats.hedges,
            "rate_limited": stats.rate_limited,
            "in_flight": progress.limiter.in_flight,
            "waiting_for": progress.waiting_for,
            **_quotas(progress.limiter),
            "endpoints": _endpoints(progress),
        }


def run_facts(options: RunOptions, batch: BatchRun) -> dict[str, Any]:
    """What the first line of a run holds: version, models, settings."""
    model = batch.engine.model
    models = model.models if isinstance(model, Spread) else [model]
    facts: dict[str, Any] = {
        "models": [hide_user(each.name) for each in models],
        "settings": settings_to_dict(options),
    }
    with suppress(PackageNotFoundError):  # it was not installed, but is run from a folder
        facts["version"] = version("callgate")
    return facts


def settings_to_dict(options: RunOptions) -> dict[str, Any]:
    """The options that differ from their defaults, without secrets, ready for JSON.

    >>> settings_to_dict(RunOptions(input="in.jsonl", model=("openai/m",), output="out.jsonl", rpm=500))
    {'input': 'in.jsonl', 'model': ['openai/m'], 'output': 'out.jsonl', 'rpm': 500}
    """
    given = {
        each.name: value
        for each in fields(options)
        if (value := getattr(options, each.name)) != each.default and value not in ((), {}, None)
    }
    names = given.pop("api_key_env", ())  # of variables, not keys: `read_targets` has looked them up
    for name, value in given.items():
        if isinstance(value, tuple):
            given[name] = [hide_user(each) for each in value]
    settings: dict[str, Any] = orjson.loads(_encode(hide_secrets(given)))
    if names:
        settings["api_key_env"] = list(names)
    return {
        name: f"{value[:_LONGEST]}…" if isinstance(value, str) and len(value) > _LONGEST else value
        for name, value in settings.items()
    }


def _endpoints(progress: Progress) -> list[dict[str, Any]]:
    limiters = {each.name: each.limiter for each in progress.endpoints}
    return [_endpoint(name, stats, limiters.get(name)) for name, stats in progress.stats.endpoints.items()]


def _endpoint(name: str, stats: EndpointStats, limiter: LimiterSnapshot | None) -> dict[str, Any]:
    latency = stats.latency()
    return {
        "name": hide_user(name),
        "calls": stats.calls,
        "answered": stats.answered,
        "faults": dict(stats.faults),
        "cost_usd": stats.cost,
        "latency_s": None if latency is None else [round(each, 6) for each in latency],
        **({} if limiter is None else _quotas(limiter)),
    }


def _quotas(limiter: LimiterSnapshot) -> dict[str, Any]:
    return {"requests": _quota(limiter.requests), "tokens": _quota(limiter.tokens)}


def _quota(rate: RateSnapshot | None) -> Sequence[float] | None:
    """Used, allowed, and the seconds of the window."""
    return None if rate is None else (round(rate.used, 3), rate.quota.rate, rate.quota.period)


def _encode(line: dict[str, Any]) -> bytes:
    # The `repr` of a hidden string does not show it; the string itself would be written.
    return orjson.dumps(
        line,
        lambda value: repr(value).strip("'"),
        orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_SUBCLASS,
    )
