"""Parses server-sent events from bytes in pieces of any size."""

from __future__ import annotations

from dataclasses import dataclass

from callgate.errors import ResponseTooLargeError

__all__ = ["SSEParser", "ServerSentEvent"]

_MAX_EVENT_BYTES = 16 * 1024 * 1024
_MAX_STRAY_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_IGNORED = frozenset({b"", b"id", b"retry"})


@dataclass(slots=True)
class ServerSentEvent:
    """One event: its name ("" if it has none) and its data, whose lines are joined by newlines."""

    event: str
    data: str


class SSEParser:
    """Parses a stream of server-sent events.

    Lines end in LF, CR or CRLF; comments, `id`, `retry` and events without data are ignored. Lines that are
    no fields are kept as `stray`, because some services end a stream with an error as bare JSON, or answer
    with a page. The field `error` of llama.cpp's server is an event of that name. Some services leave out the
    empty line between events: an object after a whole object begins another event, and so does a second name.
    The time is linear in the number of bytes for pieces of any size.

    Args:
        max_event_bytes: The most bytes of one event, which bounds the memory.

    >>> parser = SSEParser()
    >>> parser.feed(b"data: hel")
    []
    >>> parser.feed(b"lo\\n\\n")
    [ServerSentEvent(event='', data='hello')]
    """

    __slots__ = (
        "_at_start",
        "_data",
        "_data_size",
        "_event",
        "_max",
        "_pieces",
        "_skip_line_feed",
        "_tail_size",
        "stray",
    )

    def __init__(self, max_event_bytes: int = _MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._pieces: list[bytes] = []
        self._data: list[bytes] = []
        self._data_size = 0
        self._tail_size = 0  # of the line that has not ended: of _pieces
        self._event = b""
        self._skip_line_feed = False
        self._at_start = True
        self.stray = b""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that `data` completes.

        Raises:
            ResponseTooLargeError: an event exceeds `max_event_bytes`.
        """
        if not data:
            return []
        if self._skip_line_feed:
            self._skip_line_feed = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\r" in data:
            self._skip_line_feed = data[-1:] == b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in data:
            self._pieces.append(data)
            self._tail_size += len(data)
            self._check_size()
            return []
        if self._pieces:
            self._pieces.append(data)
            data = b"".join(self._pieces)
            self._pieces.clear()
        lines = data.split(b"\n")
        tail = lines.pop()
        events = self._read(lines)
        if tail:
            self._pieces.append(tail)
        self._tail_size = len(tail)
        self._check_size()
        return events

    def finish(self) -> list[ServerSentEvent]:
        """The last event, if the bytes ended without the empty line after it. It may be cut off."""
        tail = b"".join(self._pieces)
        self._pieces.clear()
        return self._read([tail, b""])

    def _read(self, lines: list[bytes]) -> list[ServerSentEvent]:
        events: list[ServerSentEvent] = []
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if not line:
                self._end_event(events)
                continue
            name, _, value = line.partition(b":")
            if name != b"data":
                name = name.strip().lower()
            if name == b"data":
                value = value[1:] if value[:1] == b" " else value
                while value.startswith(b"data:"):  # some gateways frame events that are framed already
                    value = value[5:].lstrip()
                if self._data and self._begins_another(value):
                    self._end_event(events)
                self._data.append(value)
                self._data_size += len(value) + 1
            elif name == b"event":
                if self._data and self._event:
                    self._end_event(events)
                self._event = value[1:] if value[:1] == b" " else value
            elif name == b"error":
                self._event = name
                self._data.append(value.strip())
                self._data_size += len(value) + 1
            elif name not in _IGNORED and len(self.stray) < _MAX_STRAY_BYTES:
                self.stray += line + b"\n"
        return events

    def _end_event(self, events: list[ServerSentEvent]) -> None:
        if self._data:
            text = b"\n".join(self._data).decode("utf-8", "replace")
            events.append(ServerSentEvent(self._event.decode("utf-8", "replace"), text))
            self._data, self._data_size = [], 0
        self._event = b""

    def _begins_another(self, value: bytes) -> bool:
        """Whether a line of data that follows others is no part of their event."""
        is_whole = self._data[0][:1] == b"{" and self._data[-1].rstrip()[-1:] == b"}"
        return is_whole and value.startswith((b"{", b"[DONE]"))

    def _check_size(self) -> None:
        if self._tail_size + self._data_size > self._max:
            raise ResponseTooLargeError(f"one event of the stream is over {self._max} bytes")
