"""`callgate cache`: look into a cache of answers, and tidy it."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from callgate.policies.cache.explain import Explanation
    from callgate.policies.cache.sqlite import SqliteCache

__all__ = ["cache_app"]

_SHOWN = 160
_OUTCOMES = ("hit", "expired", "damaged", "miss")  # the best first

cache_app = typer.Typer(
    name="cache",
    help="Look into a cache of answers, and tidy it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Place = Annotated[
    Path,
    typer.Argument(metavar="DIR", envvar="CALLGATE_CACHE", help="The cache, as given to run --cache."),
]
PlaceOption = Annotated[
    Path,
    typer.Option(
        "--cache", metavar="DIR", envvar="CALLGATE_CACHE", help="The cache, as given to run --cache."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@cache_app.command()
def stats(place: Place, json: Json = False) -> None:
    """Say how many answers it holds, of which models, since when, and how large it is.

    Example: callgate cache stats answers/
    """
    with _open(place) as cache:
        found = cache.stats()
    models = [{"origin": origin, "model": model, "entries": n} for origin, model, n in found.models]
    if json:
        _print_json(
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
    typer.echo(f"{found.path}: {found.entries:,} answers, {found.bytes_on_disk / 1e6:,.1f} MB")
    if found.oldest is not None and found.newest is not None:
        typer.echo(f"written {found.oldest:%Y-%m-%d %H:%M} to {found.newest:%Y-%m-%d %H:%M} UTC")
    for each in models:
        typer.echo(f"  {each['entries']:>10,}  {each['model'] or '(no model)'}  at {each['origin']}")


@cache_app.command()
def clear(
    place: Place,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="TIME", help="Only answers older than 90m, 12h, 30d, 2w."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only answers of this model.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget answers: all of them, the old ones, or those of one model.

    Example: callgate cache clear answers/ --older-than 30d
    """
    from callgate.cli.run import read_time

    seconds = None if older_than is None else read_time("--older-than", older_than)
    with _open(place) as cache:
        if (
            seconds is None
            and model is None
            and not yes
            and not _is_sure(f"Forget all {cache.stats().entries:,} answers in {cache.path}?")
        ):
            typer.echo("nothing was forgotten", err=True)
            raise typer.Exit(1)
        gone = cache.clear(older_than=seconds, model=model)
        left = cache.stats().entries
    typer.echo(f"forgot {gone:,} answers, {left:,} are left")


@cache_app.command()
def export(
    place: Place,
    output: Annotated[str, typer.Option("-o", "--output", help="A file of JSON lines; - is stdout.")] = "-",
) -> None:
    """Write every answer and what was asked as JSON lines, oldest first.

    Example: callgate cache export answers/ -o answers.jsonl
    """
    import orjson

    from callgate.errors import InputError

    count = 0
    with _open(place) as cache:
        try:
            with nullcontext(sys.stdout.buffer) if output == "-" else Path(output).open("wb") as file:
                for entry in cache.export():
                    file.write(orjson.dumps(entry) + b"\n")
                    count += 1
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", source=output) from error
    typer.echo(f"{count:,} answers", err=True)


@cache_app.command()
def explain(
    input_: Annotated[str, typer.Argument(metavar="INPUT", help="The rows, as given to run.")],
    cache: PlaceOption,
    model: Annotated[
        list[str], typer.Option("-m", "--model", metavar="PROVIDER/MODEL", help="As given to run.")
    ],
    line: Annotated[int, typer.Option("--line", min=1, help="The row that begins on this line.")] = 1,
    custom_id: Annotated[str | None, typer.Option("--id", help="The row with this custom_id.")] = None,
    template: Annotated[str | None, typer.Option("--template", help="As given to run.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="As given to run.")] = None,
    schema: Annotated[str | None, typer.Option("--schema", metavar="FILE", help="As given to run.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="As given to run.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="As given to run.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", help="As given to run.")] = None,
    base_url: Annotated[list[str] | None, typer.Option("--base-url", help="As given to run.")] = None,
    cache_ttl: Annotated[
        str | None, typer.Option("--cache-ttl", metavar="TIME", help="As given to run.")
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=0, help="As given to run.")] = 0,
    json: Json = False,
) -> None:
    """Say whether a row is in the cache, and if not, what differs from the nearest entry.

    Give it the options of `callgate run` that shape the request. Nothing is called.

    Example: callgate cache explain rows.jsonl -m openai/gpt-4o-mini --cache answers/ --line 7
    """
    from callgate.cli.cache_keys import find_row, keys_of
    from callgate.cli.run import RunOptions, join, read_parameters, read_time

    options = RunOptions(
        input=input_,
        model=join(model) or "",
        output="",
        template=template,
        system=system,
        schema=schema,
        parameters=read_parameters(max_tokens, temperature, param or []),
        base_url=join(base_url),
        cache=str(cache),
        sample=sample,
    )
    name, row = find_row(options, line, custom_id)
    ttl = None if cache_ttl is None else read_time("--cache-ttl", cache_ttl)
    with _open(cache, ttl) as store:
        found = [store.explain(key) for key in keys_of(options, row)]
    # Of several endpoints, any may have answered it.
    explanation = min(found, key=lambda each: (_OUTCOMES.index(each.outcome), len(each.differences)))
    if json:
        _print_json(_to_dict(explanation))
    else:
        _print_explanation(explanation, f"{name}:{row.line}")


def _is_sure(question: str) -> bool:
    try:
        return typer.confirm(question)
    except typer.Abort:  # Ctrl-C, or nobody there to answer
        typer.echo(err=True)
        return False


def _open(place: Path, ttl: float | None = None) -> SqliteCache:
    # Not at the top: `callgate --help` needs none of it.
    from callgate.errors import InputError
    from callgate.policies.cache.sqlite import SqliteCache, file_of

    file = file_of(place)
    if not file.is_file():
        raise InputError(f"there is no cache in {place}")
    if not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        # SQLite keeps its log and its locks beside the file, also for those who only read.
        raise InputError(f"the cache in {place} is read-only; copy the folder to where it can be written")
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
        typer.echo(f"{row} is in the cache")
    elif explanation.outcome != "miss":
        typer.echo(f"{row} is in the cache since {when}, but {explanation.outcome}; it is asked for anew")
    elif explanation.nearest is None:
        typer.echo(f"{row} is not in the cache, which is empty")
    else:
        typer.echo(f"{row} is not in the cache. The nearest entry, of {when}, differs in:")
        for each in explanation.differences:
            typer.echo(f"  {each.where}\n    asked: {_short(each.asked)}\n    kept:  {_short(each.kept)}")


def _short(value: Any) -> str:
    import orjson

    if value is None:
        return "(nothing)"
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"


def _print_json(value: Any) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))
