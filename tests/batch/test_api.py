"""`callgate.run`: a batch in one call."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pandas
import polars
import pytest
from pydantic import BaseModel

import callgate
from callgate import Spread, Usage, iModel
from callgate.errors import BatchStoppedError, ConfigurationError, InputError
from callgate.testing import Simulator

MODEL = "openai/gpt-4o-mini"
Simulate = Callable[..., Simulator]


class Label(BaseModel):
    label: str


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Simulate]:
    """Starts simulated providers that answer with the prompt, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:

        def start(**options: Any) -> Simulator:
            sim = stack.enter_context(Simulator(**{"echo": True, **options}))
            monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
            monkeypatch.setenv("OPENAI_BASE_URL", sim.base_url)
            return sim

        yield start


def test_prompts_are_answered_in_their_order(simulate: Simulate) -> None:
    sim = simulate(latency=0.01, latency_sigma=1.0)
    prompts = [f"word {number}" for number in range(50)]
    results = callgate.run(prompts, MODEL)
    assert results.texts == prompts
    assert (len(results), results.failed, results.summary.ending) == (50, [], "done")
    assert results.cost == pytest.approx(sim.stats.bill or results.cost)
    assert results.usage.input_tokens == sim.stats.input_tokens
    assert results.output is None
    assert results[-1].text == "word 49"
    assert [each.text for each in results[:2]] == ["word 0", "word 1"]
    with pytest.raises(IndexError, match="no result 50: there are 50"):
        results[50]


def test_within_a_running_loop_it_runs_in_a_thread_of_its_own(simulate: Simulate) -> None:
    simulate()

    async def main() -> tuple[list[str | None], list[str | None]]:
        return callgate.run(["a", "b"], MODEL).texts, (await callgate.arun(["c"], MODEL)).texts

    assert asyncio.run(main()) == (["a", "b"], ["c"])


def test_an_output_resumes_and_pays_once(simulate: Simulate) -> None:
    sim = simulate()
    first = callgate.run(["a", "b"], MODEL, "out.jsonl", progress=False)
    assert first.texts == ["a", "b"]
    again = callgate.run(["c", "b", "a"], MODEL, "out.jsonl", progress=False)
    assert again.texts == ["c", "b", "a"]
    assert sim.stats.requests == 3
    assert again.summary.progress.skipped == 2
    assert again.output == "out.jsonl"


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl.gz", "out.parquet"])
def test_results_are_read_from_any_output(simulate: Simulate, output: str) -> None:
    simulate()
    assert callgate.run(["a", "b"], MODEL, output, progress=False).texts == ["a", "b"]
    assert callgate.run(["a", "b", "c"], MODEL, output, progress=False).texts == ["a", "b", "c"]
    assert Path(output).exists()


def test_a_file_of_rows(simulate: Simulate) -> None:
    simulate()
    Path("in.jsonl").write_bytes(b'{"prompt": "a"}\n\n{"prompt": "b"}\n')
    for output in (None, "out.jsonl"):
        results = callgate.run(Path("in.jsonl"), MODEL, output, progress=False)
        assert results.texts == ["a", "b"]
        assert [result.line for result in results] == [1, 3]
    with pytest.raises(InputError, match="are the same file"):
        callgate.run("in.jsonl", MODEL, "in.jsonl")


def test_iterators_and_async_iterators(simulate: Simulate) -> None:
    simulate()

    async def words() -> AsyncIterator[str]:
        for word in "abc":
            await asyncio.sleep(0)
            yield word

    assert callgate.run(iter("abc"), MODEL).texts == ["a", "b", "c"]
    assert asyncio.run(callgate.arun(words(), MODEL)).texts == ["a", "b", "c"]
    assert asyncio.run(callgate.arun(words(), MODEL, "o.jsonl", progress=False)).texts == ["a", "b", "c"]
    assert asyncio.run(callgate.arun(words(), MODEL, "o.jsonl", progress=False)).texts == ["a", "b", "c"]


def test_a_frame_gets_the_answers_beside_its_rows(simulate: Simulate) -> None:
    simulate()
    data = {"word": ["cat", "dog"], "text": ["x", "y"]}
    frame = pandas.DataFrame(data, index=[5, 7])
    answers = callgate.run(frame, MODEL, template="Translate: {word}").to_pandas()
    assert list(answers.index) == [5, 7]
    assert list(answers["word"]) == ["cat", "dog"]
    assert list(answers["text"]) == ["x", "y"]
    assert list(answers["answer_text"]) == ["Translate: cat", "Translate: dog"]
    other = callgate.run(polars.DataFrame(data), MODEL, template="{word}", limit=1).to_polars()
    assert other.columns[:3] == ["word", "text", "answer_text"]
    assert other["answer_text"].to_list() == ["cat"]


def test_answers_as_frames_of_their_own(simulate: Simulate) -> None:
    simulate()
    results = callgate.run([{"prompt": "a", "custom_id": "x", "note": 1}], MODEL)
    for table in (
        results.to_pandas().to_dict("records"),
        results.to_polars().to_dicts(),
        results.to_arrow().to_pylist(),
    ):
        assert {**table[0], "text": "a"} == table[0]
        assert (table[0]["custom_id"], table[0]["note"], table[0]["attempts"]) == ("x", 1, 1)


def test_fields_of_parsed_answers_are_columns(simulate: Simulate) -> None:
    simulate(echo=False, answers=lambda ask: 400 if "bad" in ask.text else '{"label": "good"}')
    rows = [{"prompt": "bad", "note": 1}, {"prompt": "a", "label": "gold"}]
    results = callgate.run(rows, MODEL, schema=Label)
    names = ["prompt", "note", "label", "text", "parsed_label", "error"]
    for table in (results.to_pandas(), results.to_polars()):
        assert list(table.columns)[:6] == names
        assert list(table["label"])[1] == "gold"
        assert list(table["parsed_label"])[1] == "good"
        assert "parsed" not in table.columns
    assert results.to_arrow().column_names[:6] == names


def test_answers_are_parsed_into_the_schemas_type(simulate: Simulate) -> None:
    simulate(echo=False, answers=lambda ask: '{"label": "good"}')
    results = callgate.run(["a"], MODEL, schema=Label)
    assert results.parsed == [Label(label="good")]
    assert results.to_pandas()["label"][0] == "good"
    assert callgate.run(["a"], MODEL, schema=Label.model_json_schema()).parsed == [{"label": "good"}]
    Path("label.json").write_bytes(orjson.dumps(Label.model_json_schema()))
    assert callgate.run(["a"], MODEL, schema="label.json").parsed == [{"label": "good"}]
    assert callgate.run(["a"], MODEL, schema=callgate.AnswerSchema(Label.model_json_schema())).parsed[0]
    with pytest.raises(ConfigurationError, match="schema must be a pydantic model, got <class 'int'>"):
        callgate.run(["a"], MODEL, schema=int)  # type: ignore[type-var]


def test_failed_rows_have_an_error_and_bad_rows_keep_their_place(simulate: Simulate) -> None:
    simulate(answers=lambda ask: 400 if "bad" in ask.text else None)
    for output in (None, "out.jsonl"):
        rows = ["a", {"promt": "?"}, "bad", "b"]
        results = callgate.run(rows, MODEL, output, on_bad_row="skip", progress=False)
        assert results.texts == ["a", None, None, "b"]
        unusable, failed = results.failed
        assert "rename promt to prompt" in str(unusable.error)
        assert failed.error is not None
        assert failed.error.type == "InvalidRequestError"
        assert not failed.error.retryable
        assert results.summary.ending == "failures"


def test_rows_that_a_spent_budget_leaves_are_not_called(simulate: Simulate) -> None:
    simulate(echo=False, output_tokens=50)
    results = callgate.run(
        [f"word {number}" for number in range(100)],
        "openai/m",
        budget=0.01,
        prices={"input": 10.0, "output": 10.0},
        max_tokens=50,
        concurrency=1,
    )
    assert results.summary.ending == "budget"
    assert len(results) == 100
    assert 0 < len(results.failed) < 100
    assert results.failed[-1].error is not None
    assert results.failed[-1].error.type == "NotCalled"
    assert results.cost is not None
    assert results.cost <= 0.01


def test_a_run_that_stops_early_raises_and_keeps_its_results(simulate: Simulate) -> None:
    simulate(answers=lambda ask: 401)
    with pytest.raises(BatchStoppedError, match="failed in the same way") as raised:
        callgate.run([f"word {number}" for number in range(50)], MODEL)
    assert len(raised.value.results) == 50
    assert raised.value.results.texts == [None] * 50


def test_an_iterator_that_raises_ends_the_run_with_the_rows_before_it(simulate: Simulate) -> None:
    simulate()

    def words() -> Iterator[Any]:
        yield "a"
        yield {"promt": "?"}

    with pytest.raises(BatchStoppedError, match="the run ended early: rows:2: ") as raised:
        callgate.run(words(), MODEL)
    assert raised.value.results.texts[0] == "a"


def test_a_model_or_a_spread_of_ones_own_stays_open(simulate: Simulate) -> None:
    simulate()

    async def main() -> None:
        async with Spread([iModel(provider="openai", model=name) for name in ("a", "b")]) as both:
            assert (await callgate.arun(["x", "y"], both)).texts == ["x", "y"]
            assert (await both.invoke(messages=[{"role": "user", "content": "z"}])).response.text == "z"

    asyncio.run(main())


def test_several_models_share_the_rows(simulate: Simulate) -> None:
    sim = simulate(latency=0.02)
    models = ["openai/a", "openai/b"]
    results = callgate.run([str(number) for number in range(40)], models, base_url=[sim.base_url])
    assert {result.model for result in results} == {"a", "b"}


def test_options_go_to_the_run_and_other_names_to_the_request(simulate: Simulate) -> None:
    bodies: list[dict[str, Any]] = []
    simulate(answers=lambda ask: bodies.append(ask.body))
    callgate.run(
        ["a"], MODEL, system="Be brief.", max_tokens=7, top_p=0.5, cache="answers", cache_ttl="7d", rpm=600
    )
    (body,) = bodies
    assert (body["max_tokens"], body["top_p"]) == (7, 0.5)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert Path("answers").is_dir()


@pytest.mark.parametrize(
    ("options", "setting", "message"),
    [
        ({"budgt": 5}, "budget", "run has no option budgt; did you mean budget="),
        ({"rpm": 0}, "rpm", "rpm must be above 0, got 0"),
        ({"cache_ttl": "soon"}, "cache_ttl", "cache_ttl takes a number"),
        ({"rpm": "fast"}, "rpm", "rpm: Input should be a valid number.*, got 'fast'"),
        ({"limit": 2.5}, "limit", "limit: Input should be a valid integer.*, got 2.5"),
        ({"system": 5}, "system", "system: Input should be a valid string, got 5"),
        ({"on_bad_row": "x"}, "on_bad_row", "on_bad_row must be one of stop, skip, got 'x'"),
        ({"output": 5}, "output", "output: Input should be a valid string, got 5"),
        ({"schema": 5}, "schema", "schema must be a pydantic model, a JSON schema or a file"),
        ({"model": 5}, "model", 'model must be "PROVIDER/MODEL"'),
        ({"dry_run": True}, "dry_run", "run has no option dry_run; use callgate run --dry-run"),
        ({"api_key": "sk-x"}, "api_key", "run has no option api_key; name its variable with api_key_env="),
        ({"quiet": True}, "quiet", "run has no option quiet; use progress=False"),
    ],
)
def test_an_option_that_cannot_work_is_refused(
    simulate: Simulate, options: dict[str, Any], setting: str, message: str
) -> None:
    simulate()
    with pytest.raises(ConfigurationError, match=message) as raised:
        callgate.run(["a"], **{"model": MODEL, **options})
    assert raised.value.setting == setting


def test_a_prompt_in_the_place_of_rows_is_refused_with_a_hint(simulate: Simulate) -> None:
    simulate()
    with pytest.raises(InputError, match=r"no such file; to ask a prompt, put it into a list: \['How big"):
        callgate.run("How big is the moon?", MODEL)


def test_an_option_of_none_is_not_given_and_paths_are_taken(simulate: Simulate, tmp_path: Path) -> None:
    simulate()
    results = callgate.run(
        ["a"], MODEL, tmp_path / "out.csv", cache=tmp_path / "cache", budget=None, base_url=None, rpm="600"
    )
    assert results.texts == ["a"]
    assert (tmp_path / "out.csv").is_file()
    assert (tmp_path / "cache").is_dir()


def test_cached_answers_cost_nothing(simulate: Simulate) -> None:
    simulate()
    paid = callgate.run(["a", "b"], MODEL, cache="answers")
    cached = callgate.run(["a", "b"], MODEL, cache="answers")
    assert paid.cost is not None
    assert paid.cost > 0
    assert (cached.cost, cached.usage, cached[0].cached) == (0, Usage(), True)
    unpriced = callgate.run(["a"], "openai/no-such-model")
    assert unpriced.cost is None


def test_results_as_text_html_and_report(simulate: Simulate) -> None:
    simulate(answers=lambda ask: 400 if "bad" in ask.text else None)
    results = callgate.run(["<b>", "bad", *["word " * 50] * 12], MODEL)
    assert re.match(r"<Results of 14 rows: 1 failed \(400: .*\), failures, \$0\.0", repr(results))
    page = results._repr_html_()
    assert "&lt;b&gt;" in page
    assert "InvalidRequestError: 400" in page
    assert "…" in page
    assert "and 4 more" in page
    for output in (None, "out.jsonl"):
        callgate.run(["a"], MODEL, output, progress=False).report("report.html")
        assert "</html>" in Path("report.html").read_text()
    assert "more" not in callgate.run(["a"], "openai/no-such-model")._repr_html_()


def test_the_signature_names_every_option() -> None:
    for function in (callgate.run, callgate.arun):
        parameters = inspect.signature(function).parameters
        assert {"template", "budget", "rpm", "on_bad_row", "max_tokens", "progress"} <= parameters.keys()
        assert "quiet" not in parameters


def test_it_runs_without_uvloop(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate()
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert callgate.run(["a"], MODEL).texts == ["a"]


def test_progress_is_on_stderr_unless_it_is_turned_off(
    simulate: Simulate, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(latency=0.6)
    monkeypatch.setattr("callgate.batch.display.live._PLAIN_SECONDS", ((float("inf"), 0.01),))
    callgate.run(["a"], MODEL, "out.csv")
    assert "rows" in capsys.readouterr().err
    callgate.run(["a"], MODEL, "other.csv", progress=False)
    assert capsys.readouterr().err == ""
