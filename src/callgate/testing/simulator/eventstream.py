"""Encode Amazon event stream frames: lengths, headers, payload and both checksums."""

from __future__ import annotations

import struct
import zlib

__all__ = ["frame"]

_STRING = 7


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message with string headers.

    >>> len(frame({":message-type": "event"}, b"{}"))
    40
    """
    head = b"".join(
        bytes([len(name)]) + name.encode() + struct.pack(">BH", _STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 12 + len(head) + len(payload) + 4, len(head))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return message + struct.pack(">I", zlib.crc32(message))
