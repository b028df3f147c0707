"""`Results`: the answers of `callgate.run`, as a sequence in the order of the rows."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from importlib import import_module
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, overload

from pydantic import BaseModel
from typing_extensions import TypeVar

from callgate.batch.cost.budget import dollars
from callgate.batch.output.results import FIELDS, free_name
from callgate.batch.run import Summary
from callgate.exact_json import loads
from callgate.response import Usage

__all__ = ["Result", "Results", "RowError"]

T = TypeVar("T", default=Any)

_FIELDS = frozenset(FIELDS)
_SHOWN_ROWS = 10
_SHOWN_LETTERS = 80
_USAGE = tuple(field.name for field in fields(Usage))


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row has no answer.

    Attributes:
        type: The class name of the error; "NotCalled" if the run ended before the row.
        message: Its text.
        retryable: True if the row may succeed in another run.
        refused: True if the provider rejected the row's content or length.

    >>> str(RowError("ServerError", "503: busy", retryable=True, refused=False))
    'ServerError: 503: busy'
    """

    type: str
    message: str
    retryable: bool
    refused: bool

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """The answer to one row.

    Attributes:
        line: The line of the row in its file, or its place in the rows that were given; from 1.
        custom_id: Its id, or None.
        columns: Its own columns.
        text: The answer, or None.
        parsed: The answer as data (with `schema`), or None.
        error: Why there is no answer, or None.
        finish_reason: "stop", "length", "tool_call" or "content_filter"; None without an answer.
        model: The model that answered.
        usage: Tokens, or None if unknown.
        cost: US dollars, or None if unknown.
        latency: Seconds of the last attempt.
        attempts: Number of attempts.
        cached: True if the answer came from a cache.
        raw: The provider's response, or None.

    >>> Result(1, None, {}, "4", None, None, "stop", "m", None, None, 0.5, 1, False, None).ok
    True
    """

    line: int
    custom_id: str | None
    columns: Mapping[str, Any]
    text: str | None
    parsed: T | None
    error: RowError | None
    finish_reason: str | None
    model: str | None
    usage: Usage | None
    cost: float | None
    latency: float
    attempts: int
    cached: bool
    raw: Any

    @property
    def ok(self) -> bool:
        """True if there is an answer."""
        return self.error is None


class Results(Sequence[Result[T]]):
    """The answers of one run, in the order of its rows; rows without an answer have an `error`.

    With an `output` file they are read from it when they are asked for, so their number does not matter.

    Attributes:
        summary: What the run did and how it ended.
        output: The output file, or None.

    Example::

        results = callgate.run(["How big is the moon?"], model="openai/gpt-4o-mini")
        print(results.texts, results.cost, len(results.failed))
    """

    def __init__(
        self,
        lines: Callable[[int], bytes | None],
        count: int,
        *,
        summary: Summary,
        output: str | None,
        model: type[BaseModel] | None = None,
        frame: Any = None,
    ) -> None:
        self.summary = summary
        self.output = output
        self._lines = lines
        self._count = count
        self._model = model
        self._frame = frame

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Result[T]: ...

    @overload
    def __getitem__(self, index: slice) -> list[Result[T]]: ...

    def __getitem__(self, index: int | slice) -> Result[T] | list[Result[T]]:
        if isinstance(index, slice):
            return [self._read(place) for place in range(*index.indices(self._count))]
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(f"no result {index}: there are {self._count}")
        return self._read(place)

    def __iter__(self) -> Iterator[Result[T]]:
        return map(self._read, range(self._count))

    @property
    def texts(self) -> list[str | None]:
        """The answer of each row, None where there is none."""
        return [result.text for result in self]

    @property
    def parsed(self) -> list[T | None]:
        """The answer of each row as data of the schema's type, None where there is none."""
        return [result.parsed for result in self]

    @property
    def failed(self) -> list[Result[T]]:
        """The rows without an answer."""
        return [result for result in self if not result.ok]

    @property
    def usage(self) -> Usage:
        """The tokens of all rows, cached answers excluded."""
        return sum((result.usage for result in self if result.usage and not result.cached), Usage())

    @property
    def cost(self) -> float | None:
        """US dollars paid for all rows, in this run and before; None if no price is known."""
        paid = [result.cost for result in self if not result.cached and result.attempts]
        known = [cost for cost in paid if cost is not None]
        return sum(known) if known or not paid else None

    def to_pandas(self) -> Any:
        """A pandas frame: the row's columns, then the answer's.

        The fields of `parsed` are columns by themselves. If the rows were a pandas frame, it is that frame
        with further columns. A column of the answer whose name the row has is called `answer_NAME`, a field
        of `parsed` whose name is taken `parsed_NAME`.
        """
        pandas = import_module("pandas")
        if not (hasattr(self._frame, "iloc") and hasattr(self._frame, "columns")):
            return pandas.DataFrame(self._records())
        rows = self._frame.iloc[: self._count]
        answers = pandas.DataFrame(_answers(list(self), rows.columns), index=rows.index)
        return pandas.concat([rows, answers], axis=1)

    def to_polars(self) -> Any:
        """A polars frame, as `to_pandas`: the frame of the rows with further columns, if they were one."""
        polars = import_module("polars")
        if not hasattr(self._frame, "iter_rows"):
            return polars.DataFrame(self._records(), infer_schema_length=None)
        rows = self._frame.head(self._count)
        return rows.hstack(polars.DataFrame(_answers(list(self), rows.columns), infer_schema_length=None))

    def to_arrow(self) -> Any:
        """An Arrow table: the row's columns, then the answer's, as of `to_pandas`."""
        return import_module("pyarrow").Table.from_pylist(self._records())

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write an HTML report: cost, tokens, latency, errors.

        Raises:
            OSError: when it cannot be written.
        """
        from callgate.batch.report.page import render_page
        from callgate.batch.report.reader import read_report

        if self.output is not None:
            report = read_report(self.output)
        else:
            with TemporaryDirectory(prefix="callgate-") as folder:
                lines = os.path.join(folder, "results.jsonl")
                found = (self._lines(place) for place in range(self._count))
                Path(lines).write_bytes(b"".join(line for line in found if line is not None))
                report = read_report(lines)
                report.output = "results"
        page = render_page(report, now=datetime.now().astimezone())
        Path(path).write_text(page, encoding="utf-8")

    def __repr__(self) -> str:
        # Of the run alone: a repr must not read the output.
        stats = self.summary.progress.stats
        rows = f"{self._count:,} row{'' if self._count == 1 else 's'}"
        cost = f", {dollars(stats.cost)} in this run" if stats.cost else ""
        cause = max(stats.errors.values(), key=lambda group: group.count, default=None)
        why = "" if cause is None else f" ({_cell_text(cause.example)})"
        return f"<Results of {rows}: {stats.failed:,} failed{why}, {self.summary.ending}{cost}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{each.line}</td><td>{_cell(each.text if each.ok else str(each.error))}</td></tr>"
            for each in self[:_SHOWN_ROWS]
        )
        more = f"<p>and {self._count - _SHOWN_ROWS:,} more</p>" if self._count > _SHOWN_ROWS else ""
        head = "<tr><th>row</th><th>answer</th></tr>"
        return f"<p>{html.escape(repr(self))}</p><table>{head}{rows}</table>{more}"

    def _read(self, place: int) -> Result[T]:
        line = self._lines(place)
        if line is None:
            return _not_called(place + 1, self.summary)
        return _to_result(loads(line), self._model)

    def _records(self) -> list[dict[str, Any]]:
        results = list(self)
        names = dict.fromkeys(name for result in results for name in result.columns)
        ids = ("custom_id",) if any(result.custom_id is not None for result in results) else ()
        answers = _answers(results, {*ids, *names})
        return [
            {
                **dict.fromkeys(ids, result.custom_id),
                **{name: result.columns.get(name) for name in names},
                **answer,
            }
            for result, answer in zip(results, answers, strict=True)
        ]


def _to_result(line: dict[str, Any], model: type[BaseModel] | None) -> Result[Any]:
    error, usage = line["error"], line["usage"]
    parsed = line.get("parsed")
    return Result(
        line=line["line"],
        custom_id=line["custom_id"],
        columns={name: value for name, value in line.items() if name not in _FIELDS},
        text=line.get("text"),
        parsed=parsed if parsed is None or model is None else model.model_validate(parsed),
        error=None
        if error is None
        else RowError(error["type"], error["message"], error["retryable"], error["refused"]),
        finish_reason=line.get("finish_reason"),
        model=line.get("model"),
        usage=None if usage is None else Usage(**{name: usage[name] for name in _USAGE if name in usage}),
        cost=line["cost_usd"],
        latency=line["latency_s"],
        attempts=line["attempts"],
        cached=line["cached"],
        raw=(line["response"] or {}).get("body"),
    )


def _not_called(line: int, summary: Summary) -> Result[Any]:
    why = summary.message or f"the run ended before this row ({summary.ending})"
    error = RowError("NotCalled", why, retryable=True, refused=False)
    return Result(line, None, {}, None, None, error, None, None, None, None, 0.0, 0, False, None)


def _answers(results: Sequence[Result[Any]], taken: Collection[str]) -> list[dict[str, Any]]:
    """The columns of each answer, by the same names for all; `taken` are those of the rows."""
    objects = [_plain(result.parsed) for result in results]
    facts = [_facts(result) for result in results]
    used = set(taken)
    own = _free_names(chain.from_iterable(facts), used, "answer_")
    fields = _free_names(chain.from_iterable(objects), used, "parsed_")
    return [
        {own["text"]: result.text}
        | {fields[name]: value.get(name) for name in fields}
        | {own[name]: value for name, value in fact.items()}
        for result, value, fact in zip(results, objects, facts, strict=True)
    ]


def _facts(result: Result[Any]) -> dict[str, Any]:
    usage = result.usage or Usage()
    return {
        "text": result.text,
        "error": None if result.error is None else str(result.error),
        "finish_reason": result.finish_reason,
        "model": result.model,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": result.cost,
        "latency_s": result.latency,
        "attempts": result.attempts,
        "cached": result.cached,
    }


def _plain(parsed: Any) -> dict[str, Any]:
    """The fields of a parsed answer, which is an object by its schema; none if there is no answer."""
    fields: dict[str, Any] = parsed.model_dump() if isinstance(parsed, BaseModel) else parsed or {}
    return fields


def _free_names(names: Iterable[str], used: set[str], prefix: str) -> dict[str, str]:
    """A free name for each; one that is used gets the prefix. The new names are used then, too."""
    free: dict[str, str] = {}
    for name in dict.fromkeys(names):
        free[name] = free_name(name, used, prefix) if name in used else name
    used.update(free.values())
    return free


def _cell(text: str | None) -> str:
    return html.escape(_cell_text(text or ""))


def _cell_text(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}…"
