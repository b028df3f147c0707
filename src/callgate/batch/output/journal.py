"""Writing the results of a batch so that a kill loses nothing.

Three append-only files hold all of it: the journal has a line for each answer (for plain JSON lines it is the
output itself), the errors file one for each failed row, the ledger one for each change of what the rows may
cost. Lines are appended whole, straight to the operating system: once `write` has returned, a killed process
takes nothing with it. (A buffer would save a microsecond a row, and lose answers that are paid for.) `sync`
asks for the disk as well, against a power cut. A line that a kill tore is cut off at the next start. One lock
keeps a second run off.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType

from callgate.batch.cost.ledger import Ledger, charged_of
from callgate.batch.input.files import READ_ERRORS
from callgate.batch.output.atomic_file import whole_file
from callgate.batch.output.completed_keys import CompletedKeys, read_completed_keys
from callgate.batch.output.failures import leave_failures, take_up_failures
from callgate.batch.output.line_file import STDOUT, LineFile, open_locked, refuse_second_name
from callgate.batch.output.paths import (
    errors_path,
    free_name_beside,
    is_compressed_lines,
    is_held_compressed,
    is_own_journal,
    journal_path,
    keep_beside,
    ledger_path,
    lost_journal,
    open_answers,
    output_file,
    rescued_path,
)
from callgate.batch.output.results import RowResult, encode_result
from callgate.batch.output.sinks import sink_for, write_output
from callgate.batch.output.table import InputRows, WritingStoppedError
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
        overwrite: Start anew instead of going on. What was there is renamed (`kept`), never deleted.
        escape_formulas: As of `sink_for`.

    Raises:
        InputError: when it cannot be written, a package for its format is missing, another run is writing to
            it, or it is something else than the output of a batch.

    Example::

        async with Journal("out.csv") as journal:
            rows = (row for row in rows if not journal.completed.take(row.key))
            async for result in engine.run(rows):
                journal.write(result)
    """

    def __init__(self, output: str, *, overwrite: bool = False, escape_formulas: bool = False) -> None:
        self.output = output = output_file(output)
        self.path = journal_path(output)
        """Where the answers are appended: the output itself, or the journal beside it."""
        self.errors = errors_path(output)
        self.completed = CompletedKeys()
        """The rows that earlier runs have answered."""
        self.cut = 0
        """How many bytes of a torn last line were cut off."""
        self.kept: str | None = None
        """The new name of what `overwrite` found; None: it found nothing."""
        self.ledger: Ledger | None = None
        """Where a budget writes what may be spent before it is; None: nothing is kept."""
        self.rows: Callable[[], InputRows] | None = None
        """Returns the rows of the input, which a table holds; None: it holds all answers."""
        self.left_out = 0
        """How many answers the table does not hold, as the input does not have their rows any more."""
        self.all_tried = False
        """Whether the whole input was read: of earlier failures, no other row is kept then."""
        self._sink = sink_for(output, escape_formulas=escape_formulas)
        self._tried = self._held = -1  # how large the journal was when that was last tried, and last done
        self._stop = threading.Event()
        if not overwrite:
            self._check_places()
        self._answers = self._failures = self._open()
        try:
            if self._answers.regular:
                self._recover(overwrite)
                self.ledger = Ledger(output)
                self._failures = take_up_failures(output, self.ledger)
        except BaseException:
            self._answers.close()
            if self.ledger is not None:
                self.ledger.close()
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
        if self.ledger is not None and result.charged is not None:
            self.ledger.written(result.calling.request_id)

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

    def set_aside(self, starts: Iterable[int]) -> str:
        """Move answers into a file beside, so that their rows are asked again. May take long: call it in a
        thread, before the first `write`.

        Args:
            starts: Where their lines begin in the journal.

        Returns:
            The name of the new file.

        Raises:
            InputError: when something cannot be written. Nothing is lost then.
        """
        assert self.ledger is not None
        ordered = array("Q", sorted(starts))
        kept = free_name_beside(self.output) + self.path.removeprefix(self.output)
        # Until the new journal is in place, all its answers count as those of this run: that costs nothing.
        self.ledger.move(0)
        try:
            charged = _copy_lines(self.path, kept, ordered)
            shutil.copymode(self.path, kept)
            # Before the lines go: a kill between the two counts them twice, never not at all.
            self.ledger.charge(charged)
            _copy_others(self.path, ordered)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", source=error.filename or kept) from None
        self._answers.close()
        self._answers = self._open()
        self._tried = self._held = -1
        with open(self.path, "rb") as stream:
            self.completed = read_completed_keys(stream, self.path)[0]
        self.ledger.move(self._answers.size)
        return kept

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
        self._answers.secure()
        if (harm := self._harm([self._answers])) is not None:
            raise harm
        if self._tried == self._answers.size:
            return
        self._tried = self._answers.size
        self._answers.sync()
        with suppress(WritingStoppedError):
            rows = None if self.rows is None else self.rows()
            self.left_out = write_output(self._sink, self.output, rows=rows, stopped=self._stop.is_set)
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
        files = [self._answers] if self._failures is self._answers else [self._answers, self._failures]
        # What was pending is tried once more: room may have been made since.
        steps = [step for file in files for step in (file.flush, file.sync)]
        steps.insert(0, self._answers.secure)
        try:
            for step in (*steps, self._settle):
                try:
                    step()
                except InputError as caught:
                    error = caught
            error = error or self._harm(files)
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
        """Bring the ledger and the errors file in order, while no other run has them."""
        if self.ledger is not None:
            self.ledger.settle()
            leave_failures(self.output, self.ledger, all_tried=self.all_tried)

    def _harm(self, files: Iterable[LineFile]) -> InputError | None:
        """What another program did to the files; the last of it if there is more."""
        harm = None if self.ledger is None else self.ledger.harm
        for file in files:
            if file.harm is not None:
                harm = InputError(file.harm, source=file.name)
        return harm

    def _close(self, files: Iterable[LineFile]) -> None:
        if self._is_whole and is_compressed_lines(self.output):
            os.unlink(self.path)  # all that it held is in the output
        for file in files:
            file.close()
        if self.ledger is not None:
            self.ledger.close()

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

    def _check_places(self) -> None:
        """Refuse to begin where an earlier run's answers would be overlooked, and so paid again."""
        for path in (self.path, self.errors, ledger_path(self.output)):
            rescued = rescued_path(path)
            if os.path.lexists(rescued):
                raise InputError(
                    f"holds what an earlier run wrote after another program had taken the place of {path};"
                    " move it back there, or remove it",
                    source=rescued,
                )
        if self._sink is None or not os.path.exists(self.output):
            return
        if is_compressed_lines(self.output):
            refuse_second_name(self.output, os.stat(self.output))
        elif not os.path.exists(self.path):
            raise lost_journal(self.output)

    def _open(self) -> LineFile:
        return open_locked(self.path, self.output, beside=not is_own_journal(self.output))

    def _recover(self, overwrite: bool) -> None:
        if overwrite:
            self._start_anew()
            return
        if is_held_compressed(self.output):
            self._restore()
        file = self._answers
        try:
            with open(self.path, "rb") as stream:
                self.completed, good, lacks_end = read_completed_keys(stream, self.path)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", source=self.path) from None
        self.cut = file.size - good
        if self.cut:
            file.cut(good)
        if lacks_end:
            self.append(b"\n")

    def _start_anew(self) -> None:
        try:
            self.kept = keep_beside(self.output)
        except OSError as error:
            raise InputError(f"cannot be renamed: {error.strerror}", source=self.output) from None
        self._reopen()

    def _reopen(self) -> None:
        """Open the journal once more: another file has its name now."""
        self._answers.close()
        self._answers = self._failures = self._open()

    def _restore(self) -> None:
        """Make the journal from the compressed output: whole or not at all, as half would lose the rest."""
        try:
            answers, name = open_answers(self.output)
            with answers, whole_file(self.path) as copy:
                shutil.copyfileobj(answers, copy, _COPY)
                copy.flush()
                with open(copy.name, "rb") as check:
                    read_completed_keys(check, name)  # refuses what is none of ours
        except BaseException as error:
            os.unlink(self.path)  # it is empty, and would only be in the way
            if not isinstance(error, READ_ERRORS):
                raise
            raise InputError(
                f"cannot be read to its end ({error}); is it damaged? Choose another output",
                source=self.output,
                setting="overwrite",
                remedy="or start anew with",
            ) from None
        self._reopen()  # the copy has taken the place of the file that is locked
        self._tried = self._held = self._answers.size  # unless something comes, the output is as it should be


def _copy_lines(journal: str, path: str, starts: array[int]) -> float:
    """Copy the lines that begin at `starts` into a new file; returns what they state that they cost."""
    charged = 0.0
    with open(journal, "rb") as lines, whole_file(path) as new:
        for start in starts:
            lines.seek(start)
            line = lines.readline()
            new.write(line)
            charged += charged_of(line)
    return charged


def _copy_others(journal: str, starts: array[int]) -> None:
    """Write a journal anew without the lines that begin at `starts`, in their order."""
    without = iter(starts)
    skipped = next(without, None)
    start = 0
    with open(journal, "rb") as lines, whole_file(journal) as new:
        for line in lines:
            if start == skipped:
                skipped = next(without, None)
            else:
                new.write(line)
            start += len(line)
