"""`callgate cache stats | clear | export | explain`, as their help texts describe them."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callgate import Conversation, Engine, SqliteCache, iModel, providers
from callgate.cli import main
from callgate.testing import Simulator

KEY = "sk-of-the-documents-0123456789"


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    with Simulator() as running:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        monkeypatch.delenv("CALLGATE_CACHE", raising=False)
        yield running


def fill(sim: Simulator, path: Path, questions: list[str], model: str) -> None:
    provider = providers.OpenAICompatibleApiProvider(KEY, sim.base_url, model_id=model)
    talks = [Conversation.with_initial_message("user", each) for each in questions]
    asyncio.run(Engine(provider, path).schedule_completions(talks, 0.3, "example"))


def write_rows(path: Path, count: int) -> Path:
    path.write_text("".join(f'{{"custom_id": "r{n}", "prompt": "q{n}"}}\n' for n in range(count)))
    return path


def run(rows: Path, output: Path, cache: Path, *more: str) -> int:
    arguments = ["run", str(rows), "-m", "openai/gpt-4o-mini", "-o", str(output), "--cache", str(cache), "-q"]
    return main([*arguments, *more])


@pytest.fixture
def kept(sim: Simulator, tmp_path: Path) -> Path:
    """Three answers of one model and two of another."""
    fill(sim, tmp_path / "kept", ["a", "b", "c"], "gpt-4o-mini")
    fill(sim, tmp_path / "kept", ["a", "b"], "gpt-4o")
    return tmp_path / "kept"


def entries(path: Path, capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    assert main(["cache", "stats", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = Counter({each["model"]: each["entries"] for each in told["models"]})
    assert told["entries"] == found.total()
    return found


def test_stats_count_entries_by_model_and_their_size(
    kept: Path, sim: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entries(kept, capsys) == {"gpt-4o-mini": 3, "gpt-4o": 2}
    assert main(["cache", "stats", str(kept)]) == 0
    told = capsys.readouterr().out
    assert "5 answers" in told
    assert "gpt-4o-mini" in told
    assert sim.base_url in told


def test_export_writes_what_was_asked_and_every_answer_oldest_first(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "export", str(kept)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert Counter(each["request"]["model"] for each in lines) == {"gpt-4o-mini": 3, "gpt-4o": 2}
    assert [each["written_at"] for each in lines] == sorted(each["written_at"] for each in lines)
    assert {each["request"]["messages"][0]["content"] for each in lines} == {"a", "b", "c"}
    assert all(each["response"]["text"] for each in lines)
    assert main(["cache", "export", str(kept), "-o", str(tmp_path / "all.jsonl")]) == 0
    assert [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()] == lines
    assert KEY not in (tmp_path / "all.jsonl").read_text()


def test_clear_removes_all_or_one_models_or_old_entries(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "clear", str(kept), "--older-than", "1w", "--yes"]) == 0
    capsys.readouterr()
    assert entries(kept, capsys) == {"gpt-4o-mini": 3, "gpt-4o": 2}
    assert main(["cache", "clear", str(kept), "--model", "gpt-4o", "--yes"]) == 0
    assert "2" in capsys.readouterr().out
    assert entries(kept, capsys) == {"gpt-4o-mini": 3}
    assert main(["cache", "clear", str(kept), "-y"]) == 0
    capsys.readouterr()
    assert entries(kept, capsys) == {}


def test_clear_by_age_counts_from_when_an_answer_was_written(tmp_path: Path, sim: Simulator) -> None:
    now = 0.0

    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    async def main() -> list[bool]:
        nonlocal now
        store = SqliteCache(tmp_path / "cache", clock=lambda: now)
        async with iModel(provider="openai", model="gpt-4o-mini", cache=store) as asked:
            for now, text in ((0.0, "old"), (1_000.0, "new")):  # noqa: B007 - the clock reads it
                await asked.invoke(messages=said(text))
            assert store.clear(older_than=500.0) == 1
            return [(await asked.invoke(messages=said(text))).cached for text in ("old", "new")]

    assert asyncio.run(main()) == [False, True]


def test_clear_without_yes_asks_and_keeps_all_on_no(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main(["cache", "clear", str(kept)]) != 0
    asked = capsys.readouterr()
    assert "5" in asked.out + asked.err
    assert entries(kept, capsys).total() == 5


@pytest.mark.parametrize("command", ["stats", "clear", "export"])
def test_a_missing_cache_is_reported_and_not_created(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", command, str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


# callgate cache explain


def test_explain_reports_a_hit_or_the_difference_to_the_nearest_entry(
    sim: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 4)
    assert (
        run(rows, tmp_path / "out.jsonl", tmp_path / "cache", "--temperature", "0.2", "--max-tokens", "9")
        == 0
    )
    asked = sim.stats.requests
    base = ["cache", "explain", str(rows), "--cache", str(tmp_path / "cache"), "-m", "openai/gpt-4o-mini"]

    def explain(*more: str) -> Any:
        main([*base, *more, "--json"])
        return json.loads(capsys.readouterr().out)

    assert explain("--temperature", "0.2", "--max-tokens", "9")["outcome"] == "hit"
    told = explain("--temperature", "0.7", "--max-tokens", "9")
    assert told["outcome"] == "miss"
    [difference] = told["differences"]
    assert "temperature" in difference["where"]
    assert (difference["asked"], difference["kept"]) == (0.7, 0.2)
    both = {each["where"].split(".")[-1] for each in explain("--temperature", "0.7")["differences"]}
    assert both == {"temperature", "max_tokens"}
    assert explain("--temperature", "0.2", "--max-tokens", "9", "--system", "New.")["outcome"] == "miss"
    last = ["--id", "r3", "--temperature", "0.2", "--max-tokens", "9"]
    assert explain(*last)["outcome"] == "hit"
    with rows.open("a") as more_rows:
        more_rows.write('{"custom_id": "r9", "prompt": "q3?"}\n')
    for which in (["--id", "r9"], ["--line", "5"]):
        [difference] = explain(*which, "--temperature", "0.2", "--max-tokens", "9")["differences"]
        assert (difference["asked"], difference["kept"]) == ("q3?", "q3")
    assert sim.stats.requests == asked


def test_explain_prints_the_difference_and_both_values(
    sim: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 1)
    assert run(rows, tmp_path / "out.jsonl", tmp_path / "cache", "--temperature", "0.25") == 0
    base = ["cache", "explain", str(rows), "--cache", str(tmp_path / "cache")]
    main([*base, "-m", "openai/gpt-4o-mini", "--temperature", "0.75"])
    told = capsys.readouterr().out
    assert "temperature" in told
    assert "0.25" in told
    assert "0.75" in told
    main([*base, "-m", "openai/gpt-4o", "--temperature", "0.25"])
    told = capsys.readouterr().out
    assert "model" in told
    assert "gpt-4o-mini" in told
