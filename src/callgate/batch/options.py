"""The options of a run, each written once: type, default, help, group, bounds, and the setting it fills.

`callgate run` makes its command line from `RunOptions`. `model_settings` and `option_for` follow from the
same fields, so a new option is one new field.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import orjson

from callgate.errors import ConfigurationError
from callgate.transport.keys import hide_secrets

__all__ = [
    "OnBadRow",
    "OnChange",
    "Option",
    "RunOptions",
    "flags_for",
    "model_settings",
    "option_for",
    "read_duration",
    "read_value",
    "repeats_as",
    "specifications",
]

OnBadRow = Literal["stop", "skip"]
"""What a row of the input that cannot be used does: it ends the run, or goes to the errors file."""

OnChange = Literal["keep", "reask"]
"""What becomes of finished rows that would be asked differently now: their answers stay, or they are asked
again."""

_ROWS = "Rows"
_REQUEST = "Request"
_LIMITS = "Limits (default: from the provider's headers, or found by trial)"
_ATTEMPTS = "Attempts"
_PROVIDER = "Provider"
_MONEY = "Money"
_CACHE = "Cache"
_OUTPUT = "Output"

# Each target has its own; the other options are the same for all.
_OF_TARGETS = frozenset({"model", "base_url", "api_key_env"})

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclass(frozen=True, slots=True)
class Option:
    """How a field of `RunOptions` is described and read.

    Attributes:
        help: One sentence.
        group: The heading it is listed under, or None.
        flags: On the command line; empty for `--` and the field's name.
        metavar: What stands for the value in the help; names its unit.
        required: Whether the command line must have it.
        positional: Whether it is an argument and not an option.
        sets: The keyword of `iModel` it fills; "retry_config.max_retries" fills a field of that keyword. None
            where a target or the run itself uses it.
        read: Makes the value of a text. Of a field that holds several, the items of one text.
        least: The smallest number that is accepted.
        above: Only larger numbers are accepted.
    """

    help: str
    group: str | None = None
    flags: str = ""
    metavar: str | None = None
    required: bool = False
    positional: bool = False
    sets: str | None = None
    read: Callable[[str], Any] | None = None
    least: float | None = None
    above: float | None = None

    def check(self, name: str, value: Any) -> None:
        """Raise ConfigurationError for a number out of bounds."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return
        if self.above is not None and not self.above < value < math.inf:
            raise ConfigurationError(f"{name} must be above {self.above:g}, got {value:g}", setting=name)
        if self.least is not None and not self.least <= value < math.inf:
            raise ConfigurationError(f"{name} must be at least {self.least:g}, got {value:g}", setting=name)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, got {text!r}")
        return text

    return read


def _read_text(text: str) -> str:
    """The text itself, or the content of the file that `@FILE` names; `@@` stands for an at sign."""
    if not text.startswith("@") or text.startswith("@@"):
        return text.removeprefix("@")
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"cannot be read from {text[1:]}: {why}; write @@ for a text with @") from None


def _shown(value: Any) -> str:
    """The value for a message, unless it is a key that was given in the wrong place."""
    return repr(hide_secrets({"value": value})["value"])


def _read_pair(text: str) -> list[tuple[str, Any]]:
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ValueError(f"takes NAME=VALUE, got {_shown(text)}")
    try:
        return [(name.strip(), orjson.loads(value))]
    except orjson.JSONDecodeError:
        return [(name.strip(), value)]


def _read_prices(text: str) -> dict[str, float]:
    try:
        prices = dict(zip(("input", "output"), map(float, text.split(",")), strict=True))
    except ValueError:
        prices = {}
    if not prices or not all(0 <= price < math.inf for price in prices.values()):
        raise ValueError(f"takes two prices, such as 0.15,0.6, got {text!r}")
    return prices


def read_duration(text: str) -> float:
    """Seconds, from a number and a unit (s, m, h, d, w).

    Raises:
        ValueError: for anything else.

    >>> read_duration("90m")
    5400.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if match is None:
        raise ValueError(f"takes a number and one of s, m, h, d, w, such as 90m, got {text!r}")
    return float(match[1]) * _SECONDS[match[2]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Everything that `callgate run` can be given. Times are in seconds, prices and budgets in US dollars.

    Raises:
        ConfigurationError: when a value is out of bounds, or two options contradict each other; `setting` is
            the field's name.

    >>> RunOptions(input="in.jsonl", model=("openai/gpt-4o-mini",), rpm=500.0).rpm
    500.0
    """

    input: Annotated[
        str,
        Option(
            "Rows: .jsonl, .csv, .tsv, .txt (also .gz, .zst) or .parquet; - reads stdin.",
            metavar="INPUT",
            required=True,
            positional=True,
        ),
    ]
    model: Annotated[
        tuple[str, ...],
        Option(
            "openai/gpt-4o-mini, local/smollm2, ...; several (repeated, or with commas) share the rows.",
            flags="-m --model",
            metavar="PROVIDER/MODEL",
            required=True,
            read=_split,
        ),
    ]
    output: Annotated[
        str,
        Option(
            "Answers: .jsonl, .csv, .tsv (also .gz, .zst) or .parquet; - writes lines to stdout.",
            flags="-o --output",
            metavar="OUTPUT",
            required=True,
        ),
    ] = ""

    template: Annotated[
        str | None,
        Option(
            'Make the prompt from columns: "Translate: {text}", or from a file: @prompt.txt.',
            _ROWS,
            metavar="TEXT",
            read=_read_text,
        ),
    ] = None
    system: Annotated[
        str | None,
        Option(
            "System prompt for rows that have none; may have columns, or be @FILE.",
            _ROWS,
            metavar="TEXT",
            read=_read_text,
        ),
    ] = None
    limit: Annotated[
        int | None, Option("Only the first N rows (default: all).", _ROWS, metavar="N", least=0)
    ] = None

    on_bad_row: Annotated[
        OnBadRow,
        Option(
            "A row that cannot be used: stop before the first call, or skip it (default: stop).",
            _ROWS,
            metavar="stop|skip",
            read=_one_of(get_args(OnBadRow)),
        ),
    ] = "stop"
    on_change: Annotated[
        OnChange | None,
        Option(
            "Finished rows that would be asked differently now: keep their answers, or ask again"
            " (default: stop before the first call).",
            _ROWS,
            metavar="keep|reask",
            read=_one_of(get_args(OnChange)),
        ),
    ] = None
    allow_files: Annotated[
        tuple[str, ...],
        Option(
            "Let rows name files below this folder too; repeatable (default: below INPUT's).",
            _ROWS,
            metavar="DIR",
            read=lambda text: [text],
        ),
    ] = ()

    endpoint: Annotated[
        str | None,
        Option(
            "Where requests go: embeddings, moderations, rerank, ... (default: chat/completions).",
            _REQUEST,
            metavar="PATH",
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        Option("Maximum length of an answer (default: the provider's).", _REQUEST, metavar="TOKENS", least=1),
    ] = None
    temperature: Annotated[
        float | None,
        Option("Sampling temperature (default: the provider's).", _REQUEST, metavar="T", least=0),
    ] = None
    parameters: Annotated[
        Mapping[str, Any],
        Option(
            "Another request parameter, repeatable: --param top_p=0.9",
            _REQUEST,
            flags="--param",
            metavar="NAME=VALUE",
            read=_read_pair,
        ),
    ] = field(default_factory=dict)
    schema: Annotated[
        str | None,
        Option("JSON schema that each answer must satisfy.", _REQUEST, metavar="FILE"),
    ] = None

    rpm: Annotated[
        float | None,
        Option("Requests per minute, for each key.", _LIMITS, metavar="N", sets="limit_requests", above=0),
    ] = None
    tpm: Annotated[
        float | None,
        Option("Tokens per minute, for each key.", _LIMITS, metavar="N", sets="limit_tokens", above=0),
    ] = None
    burst: Annotated[
        float | None,
        Option(
            "Requests that may be sent at once; needs --rpm (default: 10, or five seconds' worth).",
            _LIMITS,
            metavar="N",
            sets="limit_burst",
            least=1,
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        Option("Requests in flight at once.", _LIMITS, metavar="N", sets="limit_concurrency", least=1),
    ] = None

    timeout: Annotated[
        float | None,
        Option(
            "Timeout of one attempt (default: 300).", _ATTEMPTS, metavar="SECONDS", sets="timeout", above=0
        ),
    ] = None
    no_bytes_timeout: Annotated[
        float | None,
        Option(
            "Fail an attempt after this long without a byte (default: never).",
            _ATTEMPTS,
            metavar="SECONDS",
            sets="read_timeout",
            above=0,
        ),
    ] = None
    retries: Annotated[
        int | None,
        Option(
            "Attempts after the first (default: 3).",
            _ATTEMPTS,
            metavar="N",
            sets="retry_config.max_retries",
            least=0,
        ),
    ] = None
    max_retry_after: Annotated[
        float | None,
        Option(
            "Longest Retry-After to wait for (default: 120).",
            _ATTEMPTS,
            metavar="SECONDS",
            sets="retry_config.max_retry_after",
            above=0,
        ),
    ] = None
    hedge: Annotated[
        float | None,
        Option(
            "Send the slowest share of requests a second time; the first answer wins: --hedge 0.05"
            " (default: none)",
            _ATTEMPTS,
            metavar="SHARE",
            sets="hedge",
        ),
    ] = None
    max_failures: Annotated[
        int | None,
        Option(
            "Stop after more failed rows than this (default: when all fail in the same way).",
            _ATTEMPTS,
            metavar="N",
            least=0,
        ),
    ] = None

    base_url: Annotated[
        tuple[str, ...],
        Option("Address of the API; may be several, as -m.", _PROVIDER, metavar="URL", read=_split),
    ] = ()
    api_key_env: Annotated[
        tuple[str, ...],
        Option(
            "Environment variable that holds the key; may be several, as -m.",
            _PROVIDER,
            metavar="NAME",
            sets="api_key",
            read=_split,
        ),
    ] = ()
    allow_http: Annotated[
        bool,
        Option(
            "Allow http:// to another machine: the key is sent unencrypted.", _PROVIDER, sets="allow_http"
        ),
    ] = False

    proxy: Annotated[
        str | None,
        Option(
            "Proxy for all requests: http, https, socks4 or socks5 (default: from the environment).",
            _PROVIDER,
            metavar="URL",
            sets="proxy",
        ),
    ] = None
    ca_file: Annotated[
        str | None,
        Option(
            "PEM file of the certificate authorities to trust (default: the system's).",
            _PROVIDER,
            metavar="FILE",
            sets="verify",
        ),
    ] = None
    client_cert: Annotated[
        tuple[str, ...],
        Option(
            "PEM file with a client certificate and its key, or CERT,KEY.",
            _PROVIDER,
            metavar="FILE",
            sets="client_cert",
            read=_split,
        ),
    ] = ()

    budget: Annotated[
        float | None,
        Option(
            "Most to spend on OUTPUT, over all runs; needs --max-tokens.", _MONEY, metavar="DOLLARS", above=0
        ),
    ] = None
    prices: Annotated[
        Mapping[str, float] | None,
        Option(
            "Dollars per million tokens, for a model without a known price: --price 0.15,0.6",
            _MONEY,
            flags="--price",
            metavar="IN,OUT",
            sets="prices",
            read=_read_prices,
        ),
    ] = None
    dry_run: Annotated[
        bool, Option("Call nothing: read all rows, estimate tokens, cost and time.", _MONEY)
    ] = False

    cache: Annotated[
        str | None,
        Option(
            "Keep answers in this folder, and reuse them for equal requests.",
            _CACHE,
            metavar="DIR",
        ),
    ] = None
    cache_ttl: Annotated[
        float | None,
        Option(
            "Reuse only answers younger than 90m, 12h, 7d (default: any).",
            _CACHE,
            metavar="AGE",
            read=read_duration,
        ),
    ] = None
    sample: Annotated[
        int,
        Option(
            "Number of the answer to an equal request: 1 asks for another than 0 (default: 0).",
            _CACHE,
            metavar="N",
            least=0,
        ),
    ] = 0
    no_cache: Annotated[bool, Option("Use no cache, even if CALLGATE_CACHE is set.", _CACHE)] = False

    overwrite: Annotated[bool, Option("Start again instead of resuming OUTPUT.", _OUTPUT)] = False
    escape_formulas: Annotated[
        bool,
        Option(
            "Begin texts of a CSV or TSV that a spreadsheet would run as a formula (=, +, -, @) with '.",
            _OUTPUT,
        ),
    ] = False
    quiet: Annotated[bool, Option("Print neither progress nor summary.", _OUTPUT, flags="-q --quiet")] = False
    json: Annotated[bool, Option("Print the summary as JSON on stdout.", _OUTPUT)] = False

    def __post_init__(self) -> None:
        for name, (option, _) in specifications().items():
            option.check(name, getattr(self, name))
        if self.no_cache:
            object.__setattr__(self, "cache", None)
        for name in ("cache_ttl", "sample"):
            if self.cache is None and getattr(self, name):
                raise ConfigurationError(f"{name} needs a cache", setting="cache")

    @classmethod
    def from_texts(cls, given: Mapping[str, Any]) -> RunOptions:
        """Options from what a command line holds: None where nothing was given, texts unread.

        Args:
            given: By field. A field that holds several takes a list of texts.

        Raises:
            ConfigurationError: when a text cannot be read or a value is out of bounds.
        """
        names = (name for name in specifications() if given.get(name) not in (None, []))
        return cls(**{name: read_value(name, given[name]) for name in names})

    @property
    def request(self) -> dict[str, Any]:
        """The parameters that are added to every request."""
        named = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        return {**self.parameters, **{name: value for name, value in named.items() if value is not None}}


def read_value(name: str, value: Any) -> Any:
    """The value of a field from a text, or from texts if it holds several; any other value is checked.

    Raises:
        ConfigurationError: when a text cannot be read, or a value has another type than the field.

    >>> read_value("cache_ttl", "90m"), read_value("model", ["openai/a,groq/b"]), read_value("rpm", 60)
    (5400.0, ('openai/a', 'groq/b'), 60.0)
    """
    option, kind = specifications()[name]
    several = repeats_as(kind)
    texts = [value] if isinstance(value, str) else value
    if option.read is None or not isinstance(texts, list):
        return _checked(name, os.fspath(value) if isinstance(value, os.PathLike) else value)
    try:
        if several is None:
            return option.read(texts[0])
        items = [item for text in texts for item in option.read(text)]
    except ValueError as error:
        raise ConfigurationError(f"{name} {error}", setting=name) from None
    return several(items)


def _checked(name: str, value: Any) -> Any:
    # Imported late: it takes longer than everything else that `callgate --help` needs.
    from pydantic import TypeAdapter, ValidationError

    _, kind = specifications()[name]
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise ConfigurationError(f"{name}: {problem}, got {_shown(value)}", setting=name) from None


@cache
def specifications() -> dict[str, tuple[Option, Any]]:
    """Each field's `Option` and type, in the order of the fields."""
    hints = get_type_hints(RunOptions, include_extras=True)
    return {
        each.name: (hints[each.name].__metadata__[0], get_args(hints[each.name])[0])
        for each in fields(RunOptions)
    }


def flags_for(name: str) -> list[str]:
    """The flags of a field on the command line, the long one last; of an argument its metavar.

    >>> flags_for("model"), flags_for("no_bytes_timeout")
    (['-m', '--model'], ['--no-bytes-timeout'])
    """
    option, _ = specifications()[name]
    if option.positional:
        return [option.metavar or name]
    return option.flags.split() or [f"--{name.replace('_', '-')}"]


def repeats_as(kind: Any) -> type | None:
    """`tuple` or `dict` for the type of a field that may be given repeatedly, else None."""
    return {tuple: tuple, Mapping: dict}.get(get_origin(kind))


def option_for(setting: str | None) -> str | None:
    """The long flag of the option that sets this, or None where there is none.

    Args:
        setting: A field of `RunOptions`, or a keyword of `iModel` or `RetryConfig`.

    >>> option_for("read_timeout"), option_for("api_key"), option_for("region")
    ('--no-bytes-timeout', '--api-key-env', None)
    """
    for name, (option, _) in specifications().items():
        sets = (option.sets or name).rpartition(".")[2]
        if setting is not None and setting in (name, sets):
            return flags_for(name)[-1]
    return None


def model_settings(options: RunOptions) -> dict[str, Any]:
    """The keywords of `iModel` that are the same for every target and differ from their defaults.

    Those of a nested setting are in a dict. `model`, `base_url` and `api_key_env` belong to a target.

    >>> model_settings(RunOptions(input="i", model=("m",), rpm=60.0, retries=5))
    {'limit_requests': 60.0, 'retry_config': {'max_retries': 5}}
    """
    settings: dict[str, Any] = {}
    for each in fields(options):
        option, _ = specifications()[each.name]
        value = getattr(options, each.name)
        if option.sets is None or each.name in _OF_TARGETS or value == each.default:
            continue
        outer, _, inner = option.sets.partition(".")
        if inner:
            settings.setdefault(outer, {})[inner] = value
        else:
            settings[outer] = value
    return settings
