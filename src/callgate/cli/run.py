"""`callgate run`: a file of prompts in, a file of answers out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

__all__ = ["RunOptions", "join", "read_parameters", "read_time", "run"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

_ROWS = "Rows"
_REQUEST = "Every request"
_LIMITS = "Limits (without any, the provider's headers tell, or the rate is found)"
_PROVIDER = "Provider"
_OUTPUT = "Output"
_MONEY = "Money"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line of `callgate run` says, by the names of its options.

    Of `model`, `base_url` and `api_key_env` there may be several, separated by commas. Times are in seconds.
    """

    input: str
    model: str
    output: str
    template: str | None = None
    system: str | None = None
    schema: str | None = None
    limit: int | None = None
    overwrite: bool = False
    rpm: float | None = None
    tpm: float | None = None
    concurrency: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    no_bytes_timeout: float | None = None
    retries: int | None = None
    hedge: float | None = None
    max_retry_after: float | None = None
    max_failures: int | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    allow_http: bool = False
    cache: str | None = None
    cache_ttl: float | None = None
    sample: int = 0
    budget: float | None = None
    prices: dict[str, float] | None = None
    dry_run: bool = False
    quiet: bool = False
    json: bool = False


def _option(names: str, help_text: str, panel: str, **more: Any) -> Any:
    return typer.Option(*names.split(), help=help_text, rich_help_panel=panel, **more)


def run(
    input_: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A file of rows: .jsonl, .csv, .tsv (each also .gz or .zst), .parquet; - is stdin.",
        ),
    ],
    model: Annotated[
        list[str],
        typer.Option(
            "-m",
            "--model",
            metavar="PROVIDER/MODEL",
            help="openai/gpt-4o-mini, local/smollm2, ...; several (repeated, or with commas) share the rows.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="OUTPUT",
            help="The answers: .jsonl, .csv, .tsv (each also .gz or .zst), .parquet; - for lines on stdout.",
        ),
    ],
    template: Annotated[
        str | None, _option("--template", 'The prompt from columns: "Translate: {text}"', _ROWS)
    ] = None,
    system: Annotated[str | None, _option("--system", "A system prompt for rows without one.", _ROWS)] = None,
    limit: Annotated[
        int | None, _option("--limit", "Only the first N rows (default: all).", _ROWS, min=0, metavar="N")
    ] = None,
    max_tokens: Annotated[
        int | None,
        _option(
            "--max-tokens",
            "Longest answer, in tokens (default: the provider's).",
            _REQUEST,
            min=1,
            metavar="N",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        _option(
            "--temperature",
            "0 for the same answer each time (default: the provider's).",
            _REQUEST,
            min=0.0,
            metavar="T",
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        _option("--param", "Any other parameter, repeatable: --param top_p=0.9", _REQUEST, metavar="K=V"),
    ] = None,
    schema: Annotated[
        str | None,
        _option("--schema", "A JSON schema that each answer must satisfy.", _REQUEST, metavar="FILE"),
    ] = None,
    rpm: Annotated[float | None, _option("--rpm", "Requests per minute.", _LIMITS, metavar="N")] = None,
    tpm: Annotated[float | None, _option("--tpm", "Tokens per minute.", _LIMITS, metavar="N")] = None,
    concurrency: Annotated[
        int | None,
        _option(
            "--concurrency", "Requests at the same time (default: found out).", _LIMITS, min=1, metavar="N"
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        _option("--timeout", "Seconds one attempt may take (default: 300).", _PROVIDER, metavar="S"),
    ] = None,
    no_bytes_timeout: Annotated[
        float | None,
        _option(
            "--no-bytes-timeout",
            "Seconds of silence that end an attempt (default: none do).",
            _PROVIDER,
            metavar="S",
        ),
    ] = None,
    retries: Annotated[
        int | None,
        _option("--retries", "Further attempts after the first (default: 3).", _PROVIDER, min=0, metavar="N"),
    ] = None,
    hedge: Annotated[
        float | None,
        _option(
            "--hedge",
            "Ask the slowest share twice and take the first answer: --hedge 0.05 (default: none)",
            _PROVIDER,
            metavar="SHARE",
        ),
    ] = None,
    max_retry_after: Annotated[
        float | None,
        _option(
            "--max-retry-after",
            "Longest Retry-After that is waited for, in seconds (default: 120).",
            _PROVIDER,
            metavar="S",
        ),
    ] = None,
    max_failures: Annotated[
        int | None,
        _option(
            "--max-failures",
            "Stop when more rows than this failed (default: only when all fail in the same way).",
            _PROVIDER,
            min=0,
            metavar="N",
        ),
    ] = None,
    base_url: Annotated[
        list[str] | None,
        _option(
            "--base-url", "Instead of the provider's own; may be several, as -m.", _PROVIDER, metavar="URL"
        ),
    ] = None,
    api_key_env: Annotated[
        list[str] | None,
        _option(
            "--api-key-env",
            "The variable that holds the key; may be several, as -m.",
            _PROVIDER,
            metavar="NAME",
        ),
    ] = None,
    allow_http: Annotated[
        bool, _option("--allow-http", "Send keys in the clear, to an http:// of another machine.", _PROVIDER)
    ] = False,
    budget: Annotated[
        float | None,
        _option(
            "--budget",
            "Dollars to spend on OUTPUT at most, over all runs; takes --max-tokens.",
            _MONEY,
            metavar="USD",
        ),
    ] = None,
    price: Annotated[
        str | None,
        _option(
            "--price",
            "Dollars per million tokens, where not known: --price 0.15,0.6",
            _MONEY,
            metavar="IN,OUT",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        _option("--dry-run", "Call nothing: read all rows and foretell tokens, cost and time.", _MONEY),
    ] = False,
    cache: Annotated[
        str | None,
        _option(
            "--cache",
            "Keep answers there and ask for none twice.",
            _OUTPUT,
            metavar="DIR",
            envvar="CALLGATE_CACHE",
        ),
    ] = None,
    cache_ttl: Annotated[
        str | None,
        _option(
            "--cache-ttl",
            "Ask anew for answers older than 90m, 12h, 7d (default: never).",
            _OUTPUT,
            metavar="TIME",
        ),
    ] = None,
    sample: Annotated[
        int,
        _option(
            "--sample",
            "With a cache: ask for another answer than those of samples 0 to N-1 (default: 0).",
            _OUTPUT,
            min=0,
            metavar="N",
        ),
    ] = 0,
    no_cache: Annotated[
        bool, _option("--no-cache", "Use no cache, whatever CALLGATE_CACHE says.", _OUTPUT)
    ] = False,
    overwrite: Annotated[bool, _option("--overwrite", "Start anew instead of going on.", _OUTPUT)] = False,
    quiet: Annotated[bool, _option("--quiet -q", "No progress and no summary.", _OUTPUT)] = False,
    json: Annotated[bool, _option("--json", "The summary as JSON on stdout.", _OUTPUT)] = False,
) -> None:
    """Answer every row of a file within the limits, and pay for none twice.

    A row is an OpenAI Batch line, {"messages": [...]}, {"prompt": "..."}, or anything with --template.
    Started again with the same OUTPUT it goes on: answered rows are not called again, failed ones are. Failed
    rows are in OUTPUT.errors.jsonl. Ctrl-C finishes what is in flight, twice stops at once. A table (.csv,
    .tsv, .parquet) is written at the end, from the journal OUTPUT.journal.jsonl that is kept beside it.

    Examples:

        callgate run prompts.jsonl -m openai/gpt-4o-mini -o out.jsonl --rpm 500 --tpm 200000

        callgate run words.csv -m local/smollm2 -o out.csv --template "Translate to French: {word}"

        callgate run prompts.jsonl -m openai/gpt-4o-mini -o out.jsonl --max-tokens 200 --budget 5.00

        callgate run prompts.jsonl -m openai/gpt-4o-mini -o out.jsonl --cache answers/ --cache-ttl 7d

        callgate run facts.jsonl -m openai/gpt-4o-mini -o out.jsonl --schema fact.json

        callgate run prompts.jsonl -m openai/gpt-4o-mini -o out.jsonl --api-key-env KEY_1 --api-key-env KEY_2

        callgate run prompts.jsonl -m openai/gpt-4o-mini,azure/gpt-4o-mini -o out.jsonl

        callgate run prompts.jsonl -m vllm/llama --base-url http://10.0.0.5:8000/v1 -o out.jsonl

        zcat prompts.jsonl.gz | callgate run - -m openai/gpt-4o-mini -o - | jq -r .text

    Exit code: 0 all rows answered, 1 some failed, 2 wrong usage or input, 3 the budget is used up,
    130 interrupted.
    """
    options = RunOptions(
        input=input_,
        model=join(model) or "",
        output=output,
        template=template,
        system=system,
        schema=schema,
        limit=limit,
        overwrite=overwrite,
        rpm=_positive("--rpm", rpm),
        tpm=_positive("--tpm", tpm),
        concurrency=concurrency,
        parameters=read_parameters(max_tokens, temperature, param or []),
        timeout=_positive("--timeout", timeout),
        no_bytes_timeout=_positive("--no-bytes-timeout", no_bytes_timeout),
        retries=retries,
        hedge=hedge,
        max_retry_after=_positive("--max-retry-after", max_retry_after),
        max_failures=max_failures,
        base_url=join(base_url),
        api_key_env=join(api_key_env),
        allow_http=allow_http,
        budget=_positive("--budget", budget),
        prices=_prices(price),
        dry_run=dry_run,
        cache=None if no_cache else cache,
        cache_ttl=None if cache_ttl is None else read_time("--cache-ttl", cache_ttl),
        sample=sample,
        quiet=quiet,
        json=json,
    )
    # Not at the top: the engine and all it stands on take longer to load than the help takes to print.
    from callgate.cli.batch import run_batch

    raise typer.Exit(run_batch(options))


def join(given: list[str] | None) -> str | None:
    """An option that was given once, several times, or with commas; None when it was not."""
    return ",".join(given) if given else None


def read_time(option: str, text: str) -> float:
    """Seconds, from a number and a unit: 90m, 12h, 30d, 2w."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if match is None:
        raise typer.BadParameter(f"takes a number and one of s, m, h, d, w, not {text!r}", param_hint=option)
    return float(match[1]) * _UNITS[match[2]]


def _positive(option: str, value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"must be above 0, not {value:g}", param_hint=option)
    return value


def _prices(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    try:
        prices = dict(zip(("input", "output"), map(float, text.split(",")), strict=True))
    except ValueError:
        prices = {}
    if not prices or not all(0 <= price < float("inf") for price in prices.values()):
        raise typer.BadParameter(f"takes two prices, as in 0.15,0.6, not {text!r}", param_hint="--price")
    return prices


def read_parameters(max_tokens: int | None, temperature: float | None, pairs: list[str]) -> dict[str, Any]:
    """The parameters that every request gets; a value is JSON where it can be read as such, else a text."""
    import orjson

    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.strip():
            raise typer.BadParameter(f"takes NAME=VALUE, not {pair!r}", param_hint="--param")
        try:
            parameters[name.strip()] = orjson.loads(text)
        except orjson.JSONDecodeError:
            parameters[name.strip()] = text
    if max_tokens is not None:
        parameters["max_tokens"] = max_tokens
    if temperature is not None:
        parameters["temperature"] = temperature
    return parameters
