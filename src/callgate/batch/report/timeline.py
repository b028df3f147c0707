"""When the rows of an output ended: the runs on it, and the running time in slices."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence

from callgate.batch.report.figures import Moment, Run
from callgate.batch.report.run_records import RunRecord

__all__ = ["Timeline"]

_MOST_SLICES = 120
_FEWEST_SLICES = 24
_SLICE = 2.0
"""Seconds of a slice, where that gives neither too many nor too few."""
_PAUSE = 60.0
"""Seconds without a call on the wire that separate two runs that were not logged."""
_FAILED = -1.0


class Timeline:
    """Collects the rows of an output, in any order, and splits them into runs and slices of time.

    A run that was logged begins and ends as logged. Other runs are told apart by the pause between them: a
    minute without a call on the wire.

    >>> timeline = Timeline()
    >>> for ended in (101.0, 102.0, 5000.0):
    ...     timeline.add_answer(ended, 0.25, latency=1.0)
    >>> runs, moments = timeline.split()
    >>> [(run.began, run.seconds, run.answered) for run in runs]
    [(100.0, 2.0, 2), (4999.0, 1.0, 1)]
    >>> moments[-1].at + moments[-1].seconds
    3.0
    """

    def __init__(self) -> None:
        # Flat, as there may be millions of rows.
        self._ends = array("d")
        self._took = array("d")
        self._costs = array("d")

    def add_answer(self, ended: float, cost: float, latency: float) -> None:
        """Add an answered row.

        Args:
            ended: Seconds since 1970.
            cost: US dollars.
            latency: Seconds on the wire; 0 for an answer of the cache.
        """
        self._ends.append(ended)
        self._took.append(latency)
        self._costs.append(cost)

    def add_failure(self, ended: float, cost: float) -> None:
        """Add a row that failed; the arguments are as of `add_answer`."""
        self.add_answer(ended, cost, _FAILED)

    def split(self, records: Sequence[RunRecord] = ()) -> tuple[list[Run], list[Moment]]:
        """The runs, oldest first, and slices of their time.

        Args:
            records: The runs that were logged, oldest first.
        """
        runs = self._runs(records)
        moments, first = _empty_moments(runs)
        begins = [run.began for run in runs]
        for end, took, cost in zip(self._ends, self._took, self._costs, strict=True):
            place = max(0, bisect_right(begins, end) - 1)
            run = runs[place]
            count = first[place + 1] - first[place]
            inside = int((end - run.began) / run.seconds * count) if run.seconds > 0 else 0
            moment = moments[first[place] + max(0, min(count - 1, inside))]
            moment.cost += cost
            run.cost += cost
            if took == _FAILED:
                moment.failed += 1
                run.failed += 1
                continue
            moment.rows += 1
            run.answered += 1
            if took > 0:
                moment.latencies.append(took)
        for moment in moments:
            moment.latencies = array("d", sorted(moment.latencies))
        return runs, moments

    def _runs(self, records: Sequence[RunRecord]) -> list[Run]:
        logged = [Run(record.began, record.ended, record=record) for record in records]
        begins = [run.began for run in logged]
        last = [run.ended for run in logged]
        starts, ends = array("d"), array("d")
        for end, took in zip(self._ends, self._took, strict=True):
            place = bisect_right(begins, end) - 1
            # A killed run was logged up to a moment before its last answer.
            if place >= 0 and end <= logged[place].ended + _PAUSE:
                last[place] = max(last[place], end)
            else:
                starts.append(end - max(0.0, took))
                ends.append(end)
        for run, end in zip(logged, last, strict=True):
            run.ended = end
        return sorted([*logged, *_split_at_pauses(sorted(starts), sorted(ends))], key=lambda run: run.began)


def _split_at_pauses(starts: Sequence[float], ends: Sequence[float]) -> list[Run]:
    """The runs of rows that began and ended at these times, each in ascending order."""
    runs: list[Run] = []
    for index, start in enumerate(starts):
        # All calls that began before this one have ended if as many have ended as have begun.
        if not index or start - ends[index - 1] > _PAUSE:
            runs.append(Run(start, start))
        runs[-1].ended = ends[index]
    return runs


def _empty_moments(runs: list[Run]) -> tuple[list[Moment], list[int]]:
    """Slices of about equal length; and where those of each run begin, with the end of the last run."""
    total = sum(run.seconds for run in runs)
    slices = min(_MOST_SLICES, max(_FEWEST_SLICES, total / _SLICE))
    moments: list[Moment] = []
    first = [0]
    at = 0.0
    for place, run in enumerate(runs):
        count = max(1, round(slices * run.seconds / total)) if total > 0 else 1
        width = run.seconds / count
        moments += [Moment(at + index * width, width, place) for index in range(count)]
        at += run.seconds
        first.append(len(moments))
    return moments, first
