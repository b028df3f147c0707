"""`callgate models`: the providers, and the models of one with their prices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from callgate.cli.completion import complete_provider
from callgate.cli.terminal import write_json, write_line

if TYPE_CHECKING:
    from callgate.model.known_models import KnownModel

__all__ = ["models"]


def models(
    provider: Annotated[
        str | None,
        typer.Argument(
            metavar="PROVIDER[/MODEL]",
            help="One of the providers; with the start of a model's name, only these.",
            autocompletion=complete_provider,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.", metavar=" ")] = False,
) -> None:
    """List the providers, or the models of one: names for -m, prices and context.

    The list is that of genai-prices, without a call to the provider. A model that is not in it can be used as
    well; its cost is not known without --price.

    Examples:

        callgate models

        callgate models openai

        callgate models openai/gpt-4o
    """
    # Imported late: `callgate --help` needs none of it.
    from callgate.model.known_models import known_models
    from callgate.providers.hosts import HOSTS, find_host

    if provider is None:
        counts = {name: len(known_models(host)) for name, host in HOSTS.items()}
        keys = {name: host.api_key_env for name, host in HOSTS.items()}
        if json:
            write_json(
                [{"provider": name, "models": counts[name], "api_key_env": keys[name]} for name in HOSTS]
            )
        else:
            rows = [(name, f"{counts[name]:,}", keys[name] or "-") for name in HOSTS]
            _print_columns([("provider", "models with a price", "key"), *rows], left=(0, 2))
        return
    named, _, start = provider.partition("/")
    host = find_host(named)
    found = [each for each in known_models(host) if each.name.startswith(f"{host.provider}/{start}")]
    if json:
        write_json([asdict(model) for model in found])
    elif found:
        _print_models(found)
    elif host.provider == "local":
        write_line("local runs a model on this machine, without a price: local/smollm2, or local/FILE.gguf")
    else:
        model = provider if start else f"{provider}/NAME"
        write_line(f"no prices are known for {provider}; a model of its own works as well: -m {model}")


def _print_models(found: Sequence[KnownModel]) -> None:
    rows = [
        (
            model.name + (" (deprecated)" if model.deprecated else ""),
            _dollars(model.input, model.tiered),
            _dollars(model.cached, model.tiered),
            _dollars(model.output, model.tiered),
            "-" if model.context is None else f"{model.context:,}",
        )
        for model in found
    ]
    _print_columns([("model", "input", "cached", "output", "context"), *rows], left=(0,))
    more = "; + more for long inputs" if any(model.tiered for model in found) else ""
    write_line(f"US dollars per million tokens{more}; context in tokens", err=True)


def _dollars(price: float | None, tiered: bool) -> str:
    return "-" if price is None else f"{price:.6g}{'+' if tiered else ''}"


def _print_columns(rows: Sequence[Sequence[str]], left: Iterable[int]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        write_line("  ".join(cells).rstrip())
