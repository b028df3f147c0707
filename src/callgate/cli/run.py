"""`callgate run`: a file of prompts in, a file of answers out. Its options are `batch.options.RunOptions`."""

from __future__ import annotations

from typing import Annotated

import typer

from callgate.batch.options import RunOptions
from callgate.cli.command_line import takes_options
from callgate.cli.config import PROJECT, load_env_file
from callgate.cli.terminal import write_line

__all__ = ["run"]

EnvFile = Annotated[
    str | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        help="Read keys and other variables from a file of NAME=VALUE lines.",
        rich_help_panel="Provider",
        is_eager=True,
        callback=load_env_file,
    ),
]


@takes_options()
def run(options: RunOptions, context: typer.Context, env_file: EnvFile = None) -> None:
    """Answer every row of a file, within the limits, paying for no row twice.

    A row is an OpenAI Batch line, {"messages": [...]}, {"prompt": "..."}, or anything with --template.
    Run the same command again to resume: answered rows are skipped, failed rows are tried again. Failed
    rows are in OUTPUT.errors.jsonl. Ctrl-C finishes the requests in flight; a second one cancels them. A
    table (.csv, .tsv, .parquet) is written at the end, from OUTPUT.journal.jsonl, which stays beside it.

    Examples:

        callgate run in.jsonl -m openai/gpt-4o-mini -o out.jsonl --rpm 500

        callgate run in.csv -m local/smollm2 -o out.csv --template "French: {word}"

        callgate run in.jsonl -m openai/gpt-4o-mini,azure/gpt-4o-mini -o out.jsonl

        callgate run in.jsonl -m vllm/m --base-url http://10.0.0.5/v1 -o out.jsonl

        zcat in.jsonl.gz | callgate run - -m openai/gpt-4o-mini -o - | jq -r .text

    Options may also be in callgate.toml in the current directory, in a job file (callgate run job.toml), or
    in the environment (CALLGATE_RPM=500). The command line wins over the environment, and that over files.

    Exit code: 0 all rows answered, 1 some failed, 2 wrong usage or input, 3 the budget is spent, 130
    interrupted.
    """
    # Imported late: the engine takes longer to load than the help takes to print.
    from callgate.cli.batch import run_batch

    if not options.quiet and context.parent is not None and (context.parent.default_map or {}).get("run"):
        write_line(f"callgate: options from {PROJECT}", err=True)
    raise typer.Exit(run_batch(options))
