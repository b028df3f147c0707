"""`callgate cache`: inspect and clean a cache of answers."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callgate.batch.options import RunOptions, read_duration
from callgate.cli.command_line import takes_options
from callgate.cli.terminal import write_json, write_line

if TYPE_CHECKING:
    from callgate.policies.cache.explain import Explanation
    from callgate.policies.cache.sqlite import SqliteCache

__all__ = ["cache_app"]

_SHOWN = 160
# The options of a run that change what is asked for, and where.
_SHAPE_THE_REQUEST = frozenset(
    {"input", "model", "template", "system", "schema", "max_tokens", "temperature", "parameters", "base_url",
     "cache", "cache_ttl", "sample"}
)  # fmt: skip
_OUTCOMES = ("hit", "expired", "damaged", "miss")  # the best first

cache_app = typer.Typer(
    name="cache",
    help="Inspect and clean a cache of answers.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Place = Annotated[
    Path,
    typer.Argument(metavar="DIR", envvar="CALLGATE_CACHE", help="The folder given to run --cache."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.", metavar=" ")]


@cache_app.command()
def stats(place: Place, json: Json = False) -> None:
    """Show how many answers the cache holds, of which models, from when, and its size.

    Example: callgate cache stats answers/
    """
    with _open(place) as cache:
        found = cache.stats()
    models = [{"origin": origin, "model": model, "entries": n} for origin, model, n in found.models]
    if json:
        write_json(
            {
                "path": str(found.path),
                "entries": found.entries,
                "bytes": found.bytes_on_disk,
                "oldest": found.oldest and found.oldest.isoformat(),
                "newest": found.newest and found.newest.isoformat(),
                "models": models,
            }
        )
        return
    write_line(f"{found.path}: {found.entries:,} answers, {found.bytes_on_disk / 1e6:,.1f} MB")
    if found.oldest is not None and found.newest is not None:
        write_line(f"written {found.oldest:%Y-%m-%d %H:%M} to {found.newest:%Y-%m-%d %H:%M} UTC")
    for each in models:
        write_line(f"  {each['entries']:>10,}  {each['model'] or '(no model)'}  at {each['origin']}")


@cache_app.command()
def clear(
    place: Place,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="TIME", help="Only answers older than 90m, 12h, 30d, 2w."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only answers of this model.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.", metavar=" ")
    ] = False,
) -> None:
    """Delete answers: all, the old ones, or those of one model.

    Example: callgate cache clear answers/ --older-than 30d
    """
    seconds = None if older_than is None else _read_age("--older-than", older_than)
    with _open(place) as cache:
        if (
            seconds is None
            and model is None
            and not yes
            and not _is_sure(f"Delete all {cache.stats().entries:,} answers in {cache.path}?")
        ):
            write_line("nothing was deleted", err=True)
            raise typer.Exit(1)
        gone = cache.clear(older_than=seconds, model=model)
        left = cache.stats().entries
    write_line(f"deleted {gone:,} answers, {left:,} are left")


@cache_app.command()
def export(
    place: Place,
    output: Annotated[
        str, typer.Option("-o", "--output", help="A file of JSON lines; - writes to stdout.")
    ] = "-",
) -> None:
    """Write every request and its answer as JSON lines, oldest first.

    Example: callgate cache export answers/ -o answers.jsonl
    """
    from callgate.errors import InputError
    from callgate.exact_json import dumps

    if output == "-" and sys.stdout is None:
        raise InputError("-o - writes to standard output, which is closed")
    count = 0
    with _open(place) as cache:
        try:
            with nullcontext(sys.stdout.buffer) if output == "-" else Path(output).open("wb") as file:
                for entry in cache.export():
                    file.write(dumps(entry) + b"\n")
                    count += 1
                file.flush()
        except BrokenPipeError:
            raise  # the reader has what it wanted
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", source=output) from error
    write_line(f"{count:,} answers", err=True)


@cache_app.command()
@takes_options(_SHAPE_THE_REQUEST)
def explain(
    options: RunOptions,
    line: Annotated[int, typer.Option("--line", min=1, help="The row that begins on this line.")] = 1,
    custom_id: Annotated[str | None, typer.Option("--id", help="The row with this custom_id.")] = None,
    json: Json = False,
) -> None:
    """Show whether a row is in the cache, and if not, what differs from the nearest entry.

    Takes the options of `callgate run` that shape the request. Nothing is called.

    Example: callgate cache explain in.jsonl -m openai/m --cache answers/ --line 7
    """
    from callgate.cli.cache_keys import find_row, keys_of
    from callgate.errors import ConfigurationError

    if options.cache is None:
        raise ConfigurationError("name the cache", setting="cache")
    name, row = find_row(options, line, custom_id)
    with _open(Path(options.cache), options.cache_ttl) as store:
        found = [store.explain(key) for key in keys_of(options, row)]
    # Of several targets, any may have answered it.
    explanation = min(found, key=lambda each: (_OUTCOMES.index(each.outcome), len(each.differences)))
    if json:
        write_json(_to_dict(explanation))
    else:
        _print_explanation(explanation, f"{name}:{row.line}")


def _read_age(option: str, text: str) -> float:
    try:
        return read_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _is_sure(question: str) -> bool:
    try:
        return typer.confirm(question)
    except typer.Abort:  # Ctrl-C, or standard input is at its end
        write_line("", err=True)
        return False


def _open(place: Path, ttl: float | None = None) -> SqliteCache:
    # Imported late: `callgate --help` needs none of it.
    from callgate.errors import InputError
    from callgate.policies.cache.sqlite import SqliteCache
    from callgate.policies.cache.sqlite_file import file_of

    file = file_of(place)
    if not file.is_file():
        raise InputError(f"there is no cache in {place}")
    if not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        # SQLite writes its log and its locks beside the file, also for reading.
        raise InputError(f"the cache in {place} is read-only; copy the folder to a place that can be written")
    return SqliteCache(place, ttl=ttl)


def _to_dict(explanation: Explanation) -> dict[str, Any]:
    return {
        "outcome": explanation.outcome,
        "written_at": explanation.written_at and explanation.written_at.isoformat(),
        "nearest": explanation.nearest,
        "differences": [
            {"where": each.where, "asked": each.asked, "kept": each.kept} for each in explanation.differences
        ],
    }


def _print_explanation(explanation: Explanation, row: str) -> None:
    when = f"{explanation.written_at:%Y-%m-%d %H:%M} UTC" if explanation.written_at else ""
    if explanation.outcome == "hit":
        write_line(f"{row} is in the cache")
    elif explanation.outcome != "miss":
        write_line(f"{row} is in the cache since {when}, but {explanation.outcome}; a run asks again")
    elif explanation.nearest is None:
        write_line(f"{row} is not in the cache, which is empty")
    else:
        write_line(f"{row} is not in the cache. The nearest entry, of {when}, differs in:")
        for each in explanation.differences:
            write_line(f"  {each.where}\n    asked: {_short(each.asked)}\n    kept:  {_short(each.kept)}")


def _short(value: Any) -> str:
    from callgate.exact_json import dumps

    if value is None:
        return "(nothing)"
    text = dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"
