"""`callgate run` in a directory: write the rows, run the command, read its files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from callgate.cli import main
from callgate.testing import Simulator

__all__ = ["KEY", "MINI", "PRICES", "RunCommand", "count_ids", "each_once"]

KEY = "sk-of-the-documents-0123456789"
MINI = "openai/gpt-4o-mini"
PRICES: dict[str, Any] = {"input_price": 0.15, "output_price": 0.6}
"""Prices of gpt-4o-mini in US dollars per million tokens, for the simulator's bill."""


class RunCommand:
    """Runs `callgate run rows.jsonl` in one directory, with a key in the environment."""

    def __init__(
        self, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.path = path
        self._capsys = capsys
        self.setenv = monkeypatch.setenv
        monkeypatch.chdir(path)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        for name in ("CALLGATE_CACHE", "OPENAI_BASE_URL"):
            monkeypatch.delenv(name, raising=False)
        self.stdout = self.stderr = ""

    def rows(self, rows: list[Any] | int) -> None:
        if isinstance(rows, int):
            rows = [{"prompt": f"Question {number}"} for number in range(rows)]
        lines = [json.dumps({"custom_id": f"r{number}", **row}) for number, row in enumerate(rows)]
        (self.path / "rows.jsonl").write_text("\n".join(lines) + "\n")

    def run(self, sim: Simulator, *more: str, model: str = MINI) -> int:
        self.setenv("OPENAI_BASE_URL", sim.base_url)
        code = main(["run", "rows.jsonl", "-m", model, "-o", "out.jsonl", *more])
        self.stdout, self.stderr = self._capsys.readouterr()
        return code

    def summary(self, sim: Simulator, *more: str, code: int = 0, model: str = MINI) -> Any:
        assert self.run(sim, *more, "--json", model=model) == code, self.stderr
        return json.loads(self.stdout)

    def report(self) -> Any:
        main(["report", "out.jsonl", "--json"])
        return json.loads(self._capsys.readouterr().out)

    @property
    def answered(self) -> list[Any]:
        return self._read("out.jsonl")

    @property
    def failed(self) -> list[Any]:
        return self._read("out.jsonl.errors.jsonl") if self.errors_file.exists() else []

    @property
    def errors_file(self) -> Path:
        return self.path / "out.jsonl.errors.jsonl"

    def _read(self, name: str) -> list[Any]:
        return [json.loads(line) for line in (self.path / name).read_text().splitlines()]


def count_ids(lines: list[Any]) -> Counter[str]:
    return Counter(each["custom_id"] for each in lines)


def each_once(count: int) -> Counter[str]:
    return Counter(f"r{number}" for number in range(count))
