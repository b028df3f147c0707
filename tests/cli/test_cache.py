"""`callgate cache`: what it says of a cache that `callgate run` has filled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest

from callgate.testing import Simulator
from tests.cli.conftest import KEY, CommandResult

Run = Callable[..., CommandResult]


@pytest.fixture
def filled(folder: Path, callgate: Run, simulate: Callable[..., Simulator]) -> tuple[str, ...]:
    """A cache with two answers; gives the options that they were asked with."""
    provider = simulate()
    rows = [{"prompt": "How big is the moon?", "custom_id": "moon"}, {"prompt": "How big is the sun?"}]
    (folder / "in.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    options = ("-m", "openai/gpt-4o-mini", "--base-url", provider.url, "--temperature", "0.5")
    ended = callgate("run", "in.jsonl", "-o", "out.jsonl", "--cache", "kept", "--quiet", *options)
    assert ended.code == 0, ended.err
    return options


def test_stats_as_text_and_as_json(filled: tuple[str, ...], callgate: Run) -> None:
    facts = callgate("cache", "stats", "kept").out
    assert "2 answers" in facts
    assert "gpt-4o-mini" in facts
    found = orjson.loads(callgate("cache", "stats", "kept", "--json").out)
    assert found["entries"] == 2
    assert found["models"][0]["model"] == "gpt-4o-mini"
    assert found["bytes"] > 4096
    assert found["oldest"] <= found["newest"]


def test_the_cache_may_come_from_the_environment(
    filled: tuple[str, ...], callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLGATE_CACHE", "kept")
    assert "2 answers" in callgate("cache", "stats").out


def test_export_to_stdout_and_to_a_file(filled: tuple[str, ...], callgate: Run, folder: Path) -> None:
    ended = callgate("cache", "export", "kept")
    entries = [orjson.loads(line) for line in ended.out.splitlines()]
    assert [entry["request"]["messages"][-1]["content"] for entry in entries] == [
        "How big is the moon?",
        "How big is the sun?",
    ]
    assert all(entry["response"]["text"] for entry in entries)
    assert "2 answers" in ended.err
    assert KEY not in ended.out
    callgate("cache", "export", "kept", "-o", "all.jsonl")
    assert (folder / "all.jsonl").read_text() == ended.out
    refused = callgate("cache", "export", "kept", "-o", "nowhere/all.jsonl")
    assert refused.code == 2
    assert "nowhere/all.jsonl: cannot be written" in refused.err


def test_clear_by_age_by_model_or_all(filled: tuple[str, ...], callgate: Run) -> None:
    assert "deleted 0 answers, 2 are left" in callgate("cache", "clear", "kept", "--older-than", "1h").out
    assert "deleted 0 answers" in callgate("cache", "clear", "kept", "--model", "gpt-4o").out
    assert "deleted 2 answers, 0 are left" in callgate("cache", "clear", "kept", "--yes").out


def test_clear_asks_before_it_deletes_all(
    filled: tuple[str, ...], callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("typer.confirm", lambda text: asked.append(text) is not None)
    declined = callgate("cache", "clear", "kept")
    assert (declined.code, declined.out, declined.err) == (1, "", "nothing was deleted\n")
    assert "Delete all 2 answers" in asked[0]
    monkeypatch.setattr("typer.confirm", lambda text: _leave())
    assert callgate("cache", "clear", "kept").code == 1
    assert "2 answers" in callgate("cache", "stats", "kept").out


def _leave() -> None:
    import typer

    raise typer.Abort


def test_explain_a_hit(filled: tuple[str, ...], callgate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")  # looking needs no key
    for which in (("--line", "1"), ("--line", "2"), ("--id", "moon")):
        ended = callgate("cache", "explain", "in.jsonl", "--cache", "kept", *filled, *which)
        assert "is in the cache" in ended.out, ended.err


def test_explain_shows_what_differs(filled: tuple[str, ...], callgate: Run) -> None:
    options = [*filled[:-1], "0.7"]
    facts = callgate("cache", "explain", "in.jsonl", "--cache", "kept", *options).out
    assert "in.jsonl:1 is not in the cache" in facts
    assert facts.splitlines()[1:] == ["  request.temperature", "    asked: 0.7", "    kept:  0.5"]
    found = orjson.loads(callgate("cache", "explain", "in.jsonl", "--cache", "kept", *options, "--json").out)
    assert found["outcome"] == "miss"
    assert found["differences"] == [{"where": "request.temperature", "asked": 0.7, "kept": 0.5}]
    assert found["nearest"]["request"]["messages"][0]["content"] == "How big is the moon?"


def test_explain_an_empty_cache_and_a_damaged_entry(filled: tuple[str, ...], callgate: Run) -> None:
    with apsw.Connection("kept/cache.sqlite3") as connection:
        connection.execute("UPDATE entries SET response = x'00'")
    connection.close()
    explain = ("cache", "explain", "in.jsonl", "--cache", "kept", *filled)
    assert "but damaged; a run asks again" in callgate(*explain).out
    callgate("cache", "clear", "kept", "--yes")
    assert "which is empty" in callgate(*explain).out


PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)


def explained(callgate: Run, *options: str) -> str:
    ended = callgate("cache", "explain", "rows.jsonl", "--cache", "kept", "--json", *options)
    assert ended.code == 0, ended.err
    outcome: str = orjson.loads(ended.out)["outcome"]
    return outcome


def test_explain_finds_the_entries_that_run_finds(
    folder: Path, callgate: Run, simulate: Callable[..., Simulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = simulate(echo=True), simulate(echo=True)
    (folder / "dot.gif").write_bytes(PIXEL)
    (folder / "schema.json").write_text('{"type": "object"}')
    (folder / "rows.jsonl").write_bytes(
        orjson.dumps({"prompt": "{}", "image": "dot.gif"}) + b"\n" + orjson.dumps({"prompt": "{ }"})
    )
    plain = ("-m", "openai/gpt-4o-mini", "--base-url", one.base_url)
    for number, options in enumerate(
        (
            plain,
            (*plain, "--schema", "schema.json"),
            (*plain, "--system", "Say it again."),
            (*plain, "--sample", "3"),
            ("-m", "openai/m,groq/n", "--base-url", one.base_url, "--base-url", two.base_url),
        )
    ):
        if number:
            assert explained(callgate, *options) == "miss"
        run = ("run", "rows.jsonl", "-o", f"{number}.jsonl", "--cache", "kept", "--quiet")
        assert callgate(*run, *options).code == 0
        assert explained(callgate, *options) == "hit"
        assert explained(callgate, *options, "--line", "2") == "hit"


def test_a_sample_has_its_own_answer_and_an_expired_answer_is_replaced(
    folder: Path, callgate: Run, simulate: Callable[..., Simulator]
) -> None:
    provider = simulate()
    (folder / "rows.jsonl").write_bytes(b'{"prompt": "x"}\n')
    options = ("-m", "openai/m", "--base-url", provider.base_url, "--cache", "kept", "--quiet")
    for number, (more, calls) in enumerate(
        (((), 1), (("--sample", "1"), 2), (("--sample", "1"), 2), (("--cache-ttl", "7d"), 2))
    ):
        assert callgate("run", "rows.jsonl", "-o", f"{number}.jsonl", *options, *more).code == 0
        assert provider.stats.requests == calls
    with apsw.Connection("kept/cache.sqlite3") as connection:
        connection.execute("UPDATE entries SET written = written - 8 * 86400")
    connection.close()
    asked = ("-m", "openai/m", "--base-url", provider.base_url)
    assert explained(callgate, *asked) == "hit"
    assert explained(callgate, *asked, "--cache-ttl", "7d") == "expired"
    assert callgate("run", "rows.jsonl", "-o", "new.jsonl", *options, "--cache-ttl", "7d").code == 0
    assert provider.stats.requests == 3


def test_a_read_only_cache_is_refused_with_a_remedy(
    filled: tuple[str, ...], callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    ended = callgate("cache", "stats", "kept")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "callgate: the cache in kept is read-only; copy the folder to a place that can be written\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stats", "nowhere"), "there is no cache in nowhere"),
        (("clear", "kept", "--older-than", "soon"), "takes a number and one of s, m, h, d, w"),
        (("explain", "in.jsonl", "--cache", "kept", "-m", "openai/m", "--line", "9"), "no row on line 9"),
        (
            ("explain", "in.jsonl", "--cache", "kept", "-m", "openai/m", "--id", "x"),
            "no row with the custom_id 'x'",
        ),
    ],
)
def test_an_error_is_one_line_and_exit_code_two(
    filled: tuple[str, ...], callgate: Run, arguments: Any, said: str, folder: Path
) -> None:
    ended = callgate("cache", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (folder / "nowhere").exists()
