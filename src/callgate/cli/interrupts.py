"""Ctrl-C and SIGTERM while a batch runs: the first one drains, the second one aborts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from callgate.batch.output.journal import Journal
from callgate.batch.run import BatchRun

__all__ = ["Interrupts"]


class Interrupts:
    """Handles SIGINT, SIGTERM and SIGHUP as a context manager; use it within a running loop.

    Args:
        batch: What is drained, then aborted.
        journal: Whose publishing is stopped, if there is one.
        note: Prints a line.
    """

    def __init__(self, batch: BatchRun, journal: Journal | None, note: Callable[[str], None]) -> None:
        self.publishing = False
        """True once all calls have ended and the output is written from the journal."""
        self._batch = batch
        self._journal = journal
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._signals = [signal.SIGINT, signal.SIGTERM]
        self._before: dict[signal.Signals, Any] = {}
        # An ignored SIGHUP stays ignored: that is what nohup asks for.
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            self._signals.append(signal.SIGHUP)

    def __enter__(self) -> Interrupts:
        for name in self._signals:
            try:
                self._loop.add_signal_handler(name, self._interrupt)
            except NotImplementedError:  # a loop on Windows
                self._before[name] = signal.signal(name, self._from_any_thread)
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._signals:
            if name in self._before:
                signal.signal(name, self._before[name])
            else:
                self._loop.remove_signal_handler(name)

    def _from_any_thread(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        if self.publishing and self._journal is not None:
            self._journal.stop_publishing()
        elif self._batch.draining:
            self._note("Cancelling the requests in flight; answers received so far are kept.")
            self._batch.abort()
        else:
            requests = self._batch.engine.on_wire
            self._batch.drain()
            self._note(
                f"Finishing {requests} requests in flight and sending no more. Ctrl-C again cancels them."
            )
