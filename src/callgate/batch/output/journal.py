"""Writing what came of each row so that a kill loses nothing.

Lines are appended whole, straight to the operating system: once `write` has returned, a killed process takes
nothing with it. (A buffer would save a microsecond a row, and lose a loop turn's worth of answers that are
paid for.) `sync` asks for the disk as well, against a power cut. A line that a kill tore is cut off at the
next start. One lock keeps a second run off.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType

from callgate.batch.cost.write_ahead import Outstanding
from callgate.batch.input.files import READ_ERRORS
from callgate.batch.output.atomic_file import whole_file
from callgate.batch.output.completed_keys import Finished, read_output
from callgate.batch.output.failures import leave_failures, take_up_failures
from callgate.batch.output.line_file import STDOUT, LineFile, open_lines, open_locked
from callgate.batch.output.paths import (
    errors_path,
    is_compressed_lines,
    is_held_compressed,
    journal_path,
    lost_journal,
    open_answers,
)
from callgate.batch.output.results import RowResult, encode_result
from callgate.batch.output.sinks import sink_for, write_output
from callgate.batch.output.table import WritingStoppedError
from callgate.errors import InputError

__all__ = ["STDOUT", "Journal", "errors_path"]

_COPY = 1024 * 1024


class Journal:
    """The answers of a batch, whatever the format of its output; failed rows go to `OUTPUT.errors.jsonl`.

    Plain JSON lines are their own journal. Any other output (see `sinks`) is written from a journal beside
    it, `OUTPUT.journal.jsonl`, by `publish` or `close`: whole or not at all. Of a compressed output the
    journal is removed then, and made from it again at the next start; a table's journal stays.

    What is not a regular file (standard output, a pipe, /dev/null) holds nothing to go on from; failed rows
    go to the same place then, told apart by their `error`.

    Args:
        output: The output's path, or "-" for standard output.
        overwrite: Start anew instead of going on.

    Raises:
        InputError: when it cannot be written, a package for its format is missing, another run is writing to
            it, or it is something else than the output of a batch.

    Example::

        async with Journal("out.csv") as journal:
            async for result in engine.run(row for row in rows if not journal.finished.take(row.key)):
                journal.write(result)
    """

    def __init__(self, output: str, *, overwrite: bool = False) -> None:
        self.output = output
        self.path = journal_path(output)
        """Where the answers are appended: the output itself, or the journal beside it."""
        self.errors = errors_path(output)
        self.finished = Finished()
        """What earlier runs have answered."""
        self.cut = 0
        """How many bytes of a torn last line were cut off."""
        self.assumed = 0.0
        """US dollars that the calls of a killed run may have cost, counted as spent from now on."""
        self.outstanding: Outstanding | None = None
        """Where a budget writes down what may be spent before it is; None: nothing is kept."""
        self.all_tried = False
        """Whether the whole input was read: of earlier failures, no other row is kept then."""
        self._sink = sink_for(output)
        self._tried = self._held = -1  # how large the journal was when that was last tried, and last done
        self._stop = threading.Event()
        if self._sink is not None and not overwrite:
            self._check_table()
        self._answers = self._failures = open_locked(self.path, output)
        try:
            if self._answers.regular:
                self._recover(overwrite)
                self._account = take_up_failures(output, overwrite=overwrite)
                self.outstanding, self.assumed = Outstanding(self._account), self._account.assumed
                self._failures = open_lines(self.errors)  # that it can be written shows now, not later
        except BaseException:
            self._answers.close()
            self._failures.close()
            raise

    @property
    def resumable(self) -> bool:
        """Whether the next run can go on from this output."""
        return self._answers.regular

    @property
    def is_output(self) -> bool:
        """Whether the output is its own journal, so that nothing is left to be written at the end."""
        return self._sink is None

    # -- writing -----------------------------------------------------------------------------------------

    def write(self, result: RowResult) -> None:
        """Write one result; when this returns, the operating system has it.

        Raises:
            InputError: when it cannot be written (the disk is full, the pipe is closed). It is kept, and
                tried once more by `close`.
        """
        self.append(encode_result(result), failed=not result.ok)
        if self.outstanding is not None and result.charged is not None:
            self.outstanding.written(result.calling.request_id)

    def append(self, line: bytes, *, failed: bool = False) -> None:
        """Write one encoded line, with its line end; otherwise as `write`."""
        file = self._failures if failed else self._answers
        file.pending.append(line)
        file.flush()

    def sync(self) -> None:
        """Bring what was written to the disk. May take long: call it in a thread.

        Raises:
            InputError: when the disk refuses.
        """
        self._answers.sync()
        self._failures.sync()

    # -- the output, where it is not the journal ---------------------------------------------------------

    async def publish(self) -> bool:
        """Write the output from the journal, in a thread; `close` does it too, unless this has.

        Returns:
            Whether the output is whole; False: `stop_publishing` was called.

        Raises:
            InputError: when it cannot be written. What was there before stays, and so does the journal.
        """
        writing = asyncio.get_running_loop().run_in_executor(None, self._publish)
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            self.stop_publishing()
            raise
        return self._sink is None or self._is_whole

    def stop_publishing(self) -> None:
        """Give up writing the output, now or when it is about to begin; what was there before stays."""
        self._stop.set()

    def _publish(self) -> None:
        if self._sink is None:
            return
        self._answers.flush()
        if self._tried == self._answers.size:
            return
        self._tried = self._answers.size
        self._answers.sync()
        with suppress(WritingStoppedError):
            write_output(self._sink, self.output, stopped=self._stop.is_set)
            self._held = self._tried

    @property
    def _is_whole(self) -> bool:
        return self._held == self._answers.size

    def close(self) -> None:
        """Write the output where that is left to be done, sync and close; an errors file without any goes.

        Raises:
            InputError: when something still cannot be written, saying how many rows.
        """
        if self._answers.closed:
            return
        error: InputError | None = None
        files = {self._answers.fd: self._answers, self._failures.fd: self._failures}.values()
        # What was pending is tried once more: room may have been made since.
        steps = [step for file in files for step in (file.flush, file.sync)]
        try:
            for step in (*steps, self._settle):
                try:
                    step()
                except InputError as caught:
                    error = caught
            if error is None:
                self._publish()
        except InputError as caught:
            error = caught
        finally:
            self._close(files)
        lost = sum(len(file.pending) for file in files)
        if error is not None:
            what = f"; {lost} results are lost and will be asked for again" if lost else ""
            raise InputError(f"{error}{what}") from error

    def _settle(self) -> None:
        """Bring the account beside the output in order, while nobody else has it."""
        if self.outstanding is not None:
            self.outstanding.settle()
            leave_failures(self.output, self._account, all_tried=self.all_tried)

    def _close(self, files: Iterable[LineFile]) -> None:
        if self._is_whole and is_compressed_lines(self.output):
            os.unlink(self.path)  # all that it held is in the output
        for file in files:
            file.close()

    async def __aenter__(self) -> Journal:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # In a thread, as it may take long; shielded, as closing must not be cut off.
        closing = asyncio.get_running_loop().run_in_executor(None, self.close)
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            self.stop_publishing()
            raise

    # -- starting ----------------------------------------------------------------------------------------

    def _check_table(self) -> None:
        """Refuse a table whose journal is gone, before a new one makes it look like an empty batch."""
        if is_compressed_lines(self.output) or os.path.exists(self.path):
            return
        if os.path.exists(self.output):
            raise lost_journal(self.output)

    def _recover(self, overwrite: bool) -> None:
        if overwrite:
            self._answers.cut(0)
            if self._sink is not None:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.realpath(self.output))  # a link stays a link
            return
        if is_held_compressed(self.output):
            self._restore()
        file = self._answers
        try:
            with open(self.path, "rb") as stream:
                self.finished, good, lacks_end = read_output(stream, self.path)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", source=self.path) from None
        self.cut = file.size - good
        if self.cut:
            file.cut(good)
        if lacks_end:
            self.append(b"\n")

    def _restore(self) -> None:
        """Make the journal from the compressed output: whole or not at all, as half would lose the rest."""
        try:
            answers, name = open_answers(self.output)
            with answers, whole_file(self.path) as copy:
                shutil.copyfileobj(answers, copy, _COPY)
                copy.flush()
                with open(copy.name, "rb") as check:
                    read_output(check, name)  # refuses what is none of ours
        except BaseException as error:
            os.unlink(self.path)  # it is empty, and would only be in the way
            if not isinstance(error, READ_ERRORS):
                raise
            raise InputError(
                f"cannot be read to its end ({error}); is it damaged? Choose another -o, or --overwrite",
                source=self.output,
            ) from None
        self._answers.close()
        # The copy has taken the place of the file that is locked.
        self._answers = self._failures = open_locked(self.path, self.output)
        self._tried = self._held = self._answers.size  # unless something comes, the output is as it should be
