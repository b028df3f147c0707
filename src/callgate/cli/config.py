"""Options from files: `callgate.toml` in the current directory, and a job in the place of INPUT.

Their keys are the long options of `callgate run`, with `_` for `-`. They are the defaults of the command
line: an option or an environment variable wins.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import typer

from callgate.batch.options import flags_for, repeats_as, specifications
from callgate.errors import InputError

__all__ = ["PROJECT", "key_of", "load_env_file", "project_options", "read_job", "read_options"]

PROJECT = "callgate.toml"
"""The file of options for every run in its directory."""
_ENV_FILE = "env_file"


def project_options() -> dict[str, Any]:
    """The options in `callgate.toml`; none if there is no such file.

    Raises:
        InputError: when it cannot be read, or holds something else.
    """
    return read_options(PROJECT) if Path(PROJECT).is_file() else {}


def read_options(path: str) -> dict[str, Any]:
    """The options in a TOML file by the names of the fields, as typer takes them for defaults.

    Raises:
        InputError: when it cannot be read, is no TOML, or has a key that is no option.
    """
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("there is no such file", source=path) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=path) from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise InputError(f"is no TOML file: {error}", source=path) from None
    fields = {key_of(name): name for name in specifications()} | {_ENV_FILE: _ENV_FILE}
    options: dict[str, Any] = {}
    for key, value in given.items():
        name = fields.get(key.replace("-", "_"))
        if name is None:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"; did you mean {near[0]}?" if near else "; callgate run --help lists them"
            raise InputError(f"has no option {key}{hint}", source=path)
        options[name] = _default(name, value)
    return options


def read_job(context: typer.Context, path: str) -> str:
    """The INPUT of a command: the path itself, or that in the job file which it names.

    The other options of a job become defaults of the command.

    Raises:
        InputError: when the job cannot be read, or names no input.
    """
    if not path.endswith(".toml"):
        return path
    job = read_options(path)
    if "input" not in job:
        raise InputError('names no rows; add a line such as input = "rows.csv"', source=path)
    context.default_map = {**(context.default_map or {}), **job}
    return str(job["input"])


def load_env_file(path: str | None) -> None:
    """Set the environment variables in a file of NAME=VALUE lines; those that are set already stay.

    Raises:
        InputError: when it cannot be read, or a line is something else.
    """
    if path is None:
        return
    from dotenv import load_dotenv
    from dotenv.parser import parse_stream

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"cannot be read: {why}", source=path) from None
    for binding in parse_stream(StringIO(text)):
        if binding.error:  # which load_dotenv only logs; the line may hold a key
            raise InputError("is no NAME=VALUE line", source=path, line=binding.original.line)
    load_dotenv(stream=StringIO(text))


def key_of(name: str) -> str:
    """What a field is called in a file: its long option, or the name of an argument.

    >>> key_of("prices"), key_of("max_tokens"), key_of("input")
    ('price', 'max_tokens', 'input')
    """
    option, _ = specifications()[name]
    return name if option.positional else flags_for(name)[-1].removeprefix("--").replace("-", "_")


def _default(name: str, value: Any) -> Any:
    """A value of TOML as a default of typer: texts where the command line has texts, a list where several."""
    if name == _ENV_FILE:
        return value
    option, kind = specifications()[name]
    if repeats_as(kind) is None:
        return value if option.read is None else _text(value)
    if isinstance(value, Mapping):
        return [f"{key}={_json(each)}" for key, each in value.items()]
    return [_text(each) for each in (value if isinstance(value, list) else [value])]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()
