"""Makes a typer command of the fields of `RunOptions`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

import typer

from callgate.batch.options import Option, RunOptions, flags_for, repeats_as, specifications
from callgate.cli.completion import complete_model
from callgate.cli.config import key_of, read_job

__all__ = ["takes_options"]

Command = Callable[..., None]


def takes_options(only: Collection[str] | None = None) -> Callable[[Command], Command]:
    """Decorates a command whose first parameter is a `RunOptions`: typer sees a parameter for each field.

    Args:
        only: The fields to take; None: all. The others have their defaults.

    Example::

        @app.command()
        @takes_options()
        def run(options: RunOptions) -> None:
            ...
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        _options, *own = signature.parameters.values()
        names = [name for name in specifications() if only is None or name in only]

        def wrapper(**given: Any) -> None:
            texts = {name: given.pop(name) for name in names}
            command(RunOptions.from_texts(texts), **given)

        parameters = [_parameter(name) for name in names]
        parameters += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        wrapper.__name__ = command.__name__
        wrapper.__doc__ = command.__doc__
        # typer reads a command's parameters from its signature.
        wrapper.__dict__["__signature__"] = signature.replace(parameters=parameters)
        return wrapper

    return decorate


def _parameter(name: str) -> inspect.Parameter:
    option, kind = specifications()[name]
    flag = kind is bool
    if repeats_as(kind) is not None:
        kind = list[str] if option.required else list[str] | None
    elif flag:
        kind = bool
    elif option.read is not None:
        kind = str | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=_declaration(name, option, flag), annotation=kind
    )


def _declaration(name: str, option: Option, flag: bool) -> Any:
    default: Any = ... if option.required else False if flag else None
    common: dict[str, Any] = {
        "help": option.help,
        "metavar": " " if flag else option.metavar,
        "show_default": False,
    }
    if option.positional:
        # Eager: a job file that it names has the defaults of the others.
        return typer.Argument(default, is_eager=True, callback=read_job, **common)
    return typer.Option(
        default,
        *flags_for(name),
        rich_help_panel=option.group,
        autocompletion=complete_model if name == "model" else None,
        envvar=f"CALLGATE_{key_of(name).upper()}",
        show_envvar=False,
        **common,
    )
