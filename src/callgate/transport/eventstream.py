"""Amazon's binary event stream, frame by frame: `application/vnd.amazon.eventstream`.

A frame is: total length (u32), length of the headers (u32), CRC32 of these eight bytes, the headers, the
payload, CRC32 of everything before it. All numbers are big-endian. A dialect defines what a frame means.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

from callgate.errors import ResponseError, ResponseTooLargeError

__all__ = ["EventStreamParser", "Frame", "encode_frame"]

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_OVERHEAD = _PRELUDE.size + _CRC.size
_MAX_HEADERS = 128 * 1024
"""Bytes; the format's own bound."""
_MAX_FRAME = 24 * 1024 * 1024
"""Bytes; the format allows a payload of 24 MiB, and senders keep below 16."""

# Header types whose value has a fixed size: type -> (size, how to read it). 0 and 1 are the two booleans.
_FIXED: dict[int, struct.Struct] = {
    2: struct.Struct(">b"),
    3: struct.Struct(">h"),
    4: struct.Struct(">i"),
    5: struct.Struct(">q"),
    8: struct.Struct(">q"),
}
_BYTES, _TEXT, _UUID = 6, 7, 9

# The first byte of a frame is 0 or 1, the high byte of its length; these begin a text instead.
_TEXT_STARTS = frozenset(b" \t\r\n" + bytes(range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Frame:
    """One event.

    Attributes:
        headers: By name (":event-type"); text as str, numbers as int, booleans, bytes and UUIDs (16 bytes)
            as bytes; a timestamp is an int of milliseconds since 1970.
        payload: The content of the event, as a rule JSON.

    >>> frame = EventStreamParser().feed(encode_frame({":event-type": "chunk"}, b"{}"))[0]
    >>> frame.text(":event-type"), frame.payload
    ('chunk', b'{}')
    """

    headers: dict[str, Any]
    payload: bytes

    def text(self, name: str) -> str:
        """The header of this name if it is text, else empty text."""
        value = self.headers.get(name)
        return value if type(value) is str else ""


class EventStreamParser:
    """Parses frames from bytes in pieces of any size. Both checksums of every frame are verified.

    Args:
        max_frame_bytes: A longer frame is refused as soon as its length is known.

    Attributes:
        failure: The error that ends the stream. `feed` raises it at once, or in its next call if frames came
            before.
        stray: Text in the place of a frame, as a gateway sends it, and all bytes after it.

    Example::

        parser = EventStreamParser()
        for piece in pieces:
            for frame in parser.feed(piece):
                print(frame.text(":event-type"), frame.payload)
    """

    __slots__ = ("_buffer", "_max_frame", "failure", "stray")

    def __init__(self, *, max_frame_bytes: int = _MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._max_frame = max_frame_bytes
        self.failure: ResponseError | None = None
        self.stray = b""

    @property
    def pending(self) -> int:
        """The number of bytes of an incomplete frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes.

        Raises:
            ResponseTooLargeError: A frame is longer than the cap.
            ResponseError: A checksum or length is wrong. The parser cannot continue, because the start of the
                next frame is not known.
        """
        if self.failure is not None:
            raise self.failure
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start = 0
        try:
            while start < len(buffer):
                if self.stray or buffer[start] in _TEXT_STARTS:
                    self._keep_stray(start)
                    return frames
                if len(buffer) - start < _PRELUDE.size:
                    break
                total, headers_length = self._prelude(start)
                if len(buffer) - start < total:
                    break
                frames.append(_frame(bytes(buffer[start : start + total]), headers_length))
                start += total
        except ResponseError as error:
            if not frames:
                raise
            self.failure = error
        if start:
            del buffer[:start]
        return frames

    def _keep_stray(self, start: int) -> None:
        self.stray += self._buffer[start:]
        self._buffer.clear()
        if len(self.stray) > self._max_frame:
            raise ResponseTooLargeError(f"text in the place of a frame is over {self._max_frame} bytes")

    def _prelude(self, start: int) -> tuple[int, int]:
        total, headers_length, checksum = _PRELUDE.unpack_from(self._buffer, start)
        if zlib.crc32(self._buffer[start : start + 8]) != checksum:
            raise ResponseError("the event stream is damaged: the checksum of a frame's lengths is wrong")
        if total > self._max_frame:
            raise ResponseTooLargeError(
                f"the event stream has a frame of {total} bytes; the cap is {self._max_frame}"
            )
        if headers_length > _MAX_HEADERS or headers_length > total - _OVERHEAD:
            raise ResponseError("the event stream is damaged: a frame is too short for its own headers")
        return total, headers_length


def encode_frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame with text headers, for tests and the simulator.

    >>> len(encode_frame({}, b""))
    16
    """
    written = bytearray()
    for name, value in headers.items():
        encoded_name, encoded = name.encode(), value.encode()
        written += bytes((len(encoded_name),)) + encoded_name
        written += struct.pack(">BH", _TEXT, len(encoded)) + encoded
    lengths = struct.pack(">II", _OVERHEAD + len(written) + len(payload), len(written))
    body = lengths + _CRC.pack(zlib.crc32(lengths)) + bytes(written) + payload
    return body + _CRC.pack(zlib.crc32(body))


def _frame(data: bytes, headers_length: int) -> Frame:
    if zlib.crc32(data[:-4]) != _CRC.unpack(data[-4:])[0]:
        raise ResponseError("the event stream is damaged: the checksum of a frame is wrong")
    end = _PRELUDE.size + headers_length
    try:
        headers = _headers(data, _PRELUDE.size, end)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ResponseError("the event stream is damaged: a frame's headers cannot be read") from None
    return Frame(headers, data[end:-4])


def _headers(data: bytes, at: int, end: int) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    while at < end:
        name_end = at + 1 + data[at]
        name = data[at + 1 : name_end].decode()
        kind, at = data[name_end], name_end + 1
        value: Any
        if kind in (0, 1):
            value = kind == 0
        elif kind in _FIXED:
            value = _FIXED[kind].unpack_from(data, at)[0]
            at += _FIXED[kind].size
        elif kind in (_BYTES, _TEXT):
            start = at + 2
            at = start + int.from_bytes(data[at:start], "big")
            value = data[start:at] if kind == _BYTES else data[start:at].decode()
        elif kind == _UUID:
            value = data[at : at + 16]
            at += 16
        else:
            raise struct.error(f"unknown type {kind} of header")
        if at > end:
            raise struct.error("a header reaches beyond the headers")
        headers[name] = value
    return headers
