"""`callgate cache`: look into a cache of answers, and tidy it."""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from callgate.batch.rows import Row
    from callgate.cache.explain import Explanation
    from callgate.cache.key import CacheKey
    from callgate.cache.sqlite import SqliteCache

__all__ = ["cache_app"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SHOWN = 160

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
    """Say how many answers it holds, of which models, since when, and how large it is."""
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
    """Forget answers: all of them, the old ones, or those of one model."""
    seconds = None if older_than is None else _seconds(older_than)
    with _open(place) as cache:
        if seconds is None and model is None and not yes:
            typer.confirm(f"Forget all {cache.stats().entries:,} answers in {cache.path}?", abort=True)
        gone = cache.clear(older_than=seconds, model=model)
        left = cache.stats().entries
    typer.echo(f"forgot {gone:,} answers, {left:,} are left")


@cache_app.command()
def export(
    place: Place,
    output: Annotated[str, typer.Option("-o", "--output", help="A file of JSON lines; - is stdout.")] = "-",
) -> None:
    """Write every answer and what was asked as JSON lines, oldest first."""
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
    model: Annotated[str, typer.Option("-m", "--model", metavar="PROVIDER/MODEL", help="As given to run.")],
    line: Annotated[int, typer.Option("--line", min=1, help="The row that begins on this line.")] = 1,
    custom_id: Annotated[str | None, typer.Option("--id", help="The row with this custom_id.")] = None,
    template: Annotated[str | None, typer.Option("--template", help="As given to run.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="As given to run.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="As given to run.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="As given to run.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", help="As given to run.")] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="As given to run.")] = None,
    json: Json = False,
) -> None:
    """Say whether a row is in the cache, and if not, what differs from the nearest entry.

    Give it the options of `callgate run` that shape the request. Nothing is called.
    """
    from callgate.batch.sources import Source
    from callgate.batch.template import Template
    from callgate.cli.run import read_parameters

    provider, _, name = model.partition("/")
    source = Source(
        input_,
        template=None if template is None else Template(template),
        system=system,
        model=name or None,
        parameters=read_parameters(max_tokens, temperature, param or []),
        needs_model=True,
    )
    row = _find(source, line, custom_id)
    with _open(cache) as store:
        explanation = store.explain(_key_of(row, provider, name or None, base_url))
    if json:
        _print_json(_to_dict(explanation))
    else:
        _print_explanation(explanation, f"{source.name}:{row.line}")


def _open(place: Path) -> SqliteCache:
    # Not at the top: `callgate --help` needs none of it.
    from callgate.cache.sqlite import SqliteCache, file_of
    from callgate.errors import InputError

    if not file_of(place).is_file():
        raise InputError(f"there is no cache in {place}")
    return SqliteCache(place)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if match is None:
        raise typer.BadParameter(
            f"takes a number and one of s, m, h, d, w, not {text!r}", param_hint="--older-than"
        )
    return float(match[1]) * _UNITS[match[2]]


def _find(source: Any, line: int, custom_id: str | None) -> Row:
    from callgate.errors import InputError

    for block in source.blocks():
        for row in block:
            found: Row = row
            if found.custom_id == custom_id if custom_id is not None else found.line >= line:
                return found
    what = f"no row with the custom_id {custom_id!r}" if custom_id is not None else f"no row on line {line}"
    raise InputError(what, source=source.name)


def _key_of(row: Row, provider: str, model: str | None, base_url: str | None) -> CacheKey:
    """The key that `callgate run` would look for; a model is made for it, and never called."""
    import asyncio

    from callgate.errors import InputError
    from callgate.layers.cache import key_of
    from callgate.model import iModel

    settings: dict[str, Any] = {"provider": provider, "api_key": "unused"}
    if model is not None:
        settings["model"] = model
    if base_url is not None:
        settings["base_url"] = base_url

    async def make() -> CacheKey | None:
        async with iModel(**settings) as asked:
            return key_of(await asked.create_calling(request_payload=row.request))

    key = asyncio.run(make())
    if key is None:
        raise InputError("the row holds what cannot be compared, so it is never cached", line=row.line)
    return key


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
