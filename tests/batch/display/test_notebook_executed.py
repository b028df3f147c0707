"""A batch in a real notebook: kernel, messages and cells."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.testing import Simulator

nbclient = pytest.importorskip("nbclient", reason="pip install nbclient ipykernel")
nbformat = pytest.importorskip("nbformat")

SYNC = """
import callgate
options = {{"model": "openai/gpt-4o-mini", "base_url": "{url}", "concurrency": 2, "max_tokens": 5}}
callgate.run([f"How big is moon {{number}}?" for number in range(20)], **options)
"""
ASYNC = 'results = await callgate.arun(["How big is the sun?"], **options, progress=False)\nresults[0].ok'


def test_a_batch_in_a_notebook_has_one_output_that_ends_as_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")  # the kernel inherits it
    with Simulator(latency=0.15) as sim:
        cells = [nbformat.v4.new_code_cell(text) for text in (SYNC.format(url=sim.base_url), ASYNC)]
        notebook = nbformat.v4.new_notebook(cells=cells)
        updates: list[Any] = []

        class Client(nbclient.NotebookClient):  # type: ignore[misc, name-defined]
            def process_message(self, message: Any, *more: Any) -> Any:
                updates.append(message["msg_type"])
                return super().process_message(message, *more)

        Client(notebook, timeout=60, kernel_name="python3").execute()
    shown, result = notebook.cells[0].outputs
    assert shown.output_type == "display_data"
    assert "20/20 rows (100%)" in shown.data["text/plain"]
    assert shown.data["text/plain"].count("\n") == 0
    assert "Results of 20 rows" in result.data["text/html"]
    # Twice a second at most, and once at the end.
    assert 2 <= updates.count("update_display_data") <= 10
    assert [each.data["text/plain"] for each in notebook.cells[1].outputs] == ["True"]
