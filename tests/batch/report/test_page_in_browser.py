"""The report's page in a real browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from callgate.batch.report.page import render_page
from callgate.batch.report.reader import read_report
from tests.batch.report.test_page import NOW
from tests.batch.report.test_reader import answer, failure, write

CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_a_telephone_shows_all_plots_and_whole_numbers_inside_the_page(tmp_path: Path) -> None:
    usage = {"input_tokens": 12_345_678, "output_tokens": 1_234_567}
    rows = [
        answer(finished_at=100 + i / 10, latency_s=0.1 + (i % 30) / 20, usage=usage, parsed={"mood": "good"})
        for i in range(200)
    ]
    write(tmp_path / "out.jsonl.errors.jsonl", [failure(finished_at=110.0)])
    page = render_page(read_report(write(tmp_path / "out.jsonl", rows)), now=NOW)
    # The page itself holds no script; this one only measures what the browser has laid out.
    measure = (
        "<script>document.title = [...document.querySelectorAll('svg[role=img]')].map(svg => {"
        "const box = svg.getBoundingClientRect();"
        "const drawn = svg.querySelectorAll('polyline, rect.bar').length;"
        "return box.width > 200 && box.right <= innerWidth && drawn > 0 ? 'drawn' : 'missing';"
        "}).join(' ') + (document.documentElement.scrollWidth <= innerWidth ? '' : ' too wide')"
        "+ ([...document.querySelectorAll('td.number, .tile b')].every(box => box.clientHeight < 40)"
        "? '' : ' broken');</script></body>"
    )
    file = tmp_path / "report.html"
    file.write_text(page.replace("</body>", measure))
    assert CHROMIUM is not None
    seen = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=400,1200",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "<title>drawn drawn drawn drawn</title>" in seen
