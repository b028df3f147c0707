"""A base URL of another scheme once ended `callgate run` in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from callgate import ConfigurationError, iModel
from callgate.cli import main


@pytest.mark.parametrize(
    "settings", [{"base_url": "ftp://example.com"}, {"timeout": -1}, {"default_headers": {"a b": "c"}}]
)
def test_the_model_refuses_an_invalid_base_url(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        iModel(provider="vllm", model="m", **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_command_reports_an_invalid_base_url_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Hello"}\n')
    output = str(tmp_path / "out.jsonl")
    assert main(["run", str(rows), "-m", "vllm/m", "-o", output, "--base-url", "ftp://example.com"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
