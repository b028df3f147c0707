"""The display of a running batch: drawn in place on a terminal, else a line now and then."""

from __future__ import annotations

import asyncio
import io
from typing import cast

import pytest

from callgate.batch.display.live import Display, open_display, plain_interval
from callgate.batch.display.panel import Title
from callgate.batch.display.screen import Screen
from callgate.batch.progress import Progress
from callgate.batch.run import BatchRun
from callgate.testing import run_virtual
from tests.batch.display.test_panel import progress

TITLE = Title(["openai/m"], "in.jsonl", "out.jsonl")


class Batch:
    """A batch that does nothing but get older."""

    def progress(self) -> Progress:
        return progress(seconds=asyncio.get_running_loop().time())


def batch() -> BatchRun:
    return cast(BatchRun, Batch())


def test_plain_lines_get_further_apart(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        with open_display(batch(), TITLE, quiet=False) as display:
            await asyncio.sleep(3 * 3600.0 + 1)
            display.show_activity("writing out.csv")
            display.note("hello")

    run_virtual(main())
    lines = capsys.readouterr().err.splitlines()
    assert lines.pop() == "hello"
    # 6 in the first minute, 18 until ten minutes, 50 until an hour, then 12 an hour.
    assert len(lines) == pytest.approx(6 + 18 + 50 + 2 * 12, abs=4)
    assert lines[0].startswith("10s  1,003/5,000 rows")
    assert lines[-1].startswith("3h00m")


def test_quiet_shows_only_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        with open_display(batch(), TITLE, quiet=True) as display:
            await asyncio.sleep(100.0)
            display.note("hello")

    run_virtual(main())
    assert capsys.readouterr().err == "hello\n"


def test_what_is_said_stays_above_the_panel_which_goes_at_the_end() -> None:
    stream = io.StringIO()

    async def main() -> None:
        display = Display(batch(), TITLE, surface=Screen(stream, lambda: (80, 24)), quiet=False)
        display.note("hello")
        display.show_activity("writing out.csv")
        display.close()

    run_virtual(main())
    drawn, _, after = stream.getvalue().partition("hello")
    assert "waiting for: requests" in drawn
    assert "writing out.csv" in after
    assert after.endswith("\x1b[J")


def test_a_terminal_that_is_gone_ends_the_display_and_not_the_batch() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    async def main() -> None:
        display = Display(batch(), TITLE, surface=Screen(Gone(), lambda: (80, 24)), quiet=False)
        await asyncio.sleep(10.0)
        display.close()

    run_virtual(main())


def test_a_command_in_a_cell_of_a_notebook_writes_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Tty()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm-color")
    monkeypatch.setenv("JPY_PARENT_PID", "1")  # as ipykernel sets it for what `!` runs

    async def main() -> None:
        with open_display(batch(), TITLE, quiet=False):
            await asyncio.sleep(25.0)

    run_virtual(main())
    assert [line[:3] for line in stream.getvalue().splitlines()] == ["10s", "20s"]


def test_intervals_grow() -> None:
    intervals = [plain_interval(seconds) for seconds in (0.0, 59.0, 60.0, 599.0, 600.0, 3600.0, 1e9)]
    assert intervals == sorted(intervals)


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return -1


@pytest.mark.parametrize(
    ("stream", "term", "draws"),
    [(Tty(), "xterm", True), (Tty(), "dumb", False), (io.StringIO(), "xterm", False), (None, "xterm", False)],
)
def test_the_panel_is_drawn_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None, term: str, draws: bool
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)

    async def main() -> None:
        with open_display(batch(), TITLE, quiet=False) as display:
            display.note("hello")
            await asyncio.sleep(15.0)

    run_virtual(main())
    if stream is not None:
        assert ("\x1b[2K" in stream.getvalue()) == draws
        assert "hello" in stream.getvalue()
