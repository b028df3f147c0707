"""Unpacking bodies, never further than a cap: 16 KB can become 512 MB."""

from __future__ import annotations

import zlib
from typing import Final

__all__ = ["Inflater", "TruncatedError", "make_inflater"]

_GZIP: Final = zlib.MAX_WBITS | 16
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_ZLIB_HEAD: Final = 2


class TruncatedError(ValueError):
    """A packed body ended before its end."""


class Inflater:
    """Unpacks gzip or deflate in pieces.

    >>> Inflater("deflate").feed(zlib.compress(b"hello"), 100)
    b'hello'
    """

    __slots__ = ("_any", "_bits", "_fed", "_packer")

    def __init__(self, coding: str) -> None:
        self._bits = _GZIP if coding == "gzip" else _ZLIB
        self._packer = zlib.decompressobj(self._bits)
        self._any = False
        self._fed = b""  # the first two bytes, as far as they have come

    def feed(self, data: bytes, room: int) -> bytes:
        """What `data` unpacks to, but no more than `room` bytes and one, which tells that there is more.

        Raises:
            ValueError: it is not packed so.
        """
        made: list[bytes] = []
        room += 1
        while data and room > 0:
            if self._packer.eof:  # gzip may be several files in one
                self._packer = zlib.decompressobj(self._bits)
            piece = self._inflate(data, room)
            made.append(piece)
            room -= len(piece)
            data = self._packer.unused_data
        return b"".join(made)

    def finish(self) -> None:
        """The body has ended.

        Raises:
            TruncatedError: in the middle of something.
        """
        if self._any and not self._packer.eof:
            raise TruncatedError("the packed body is cut off")

    def _inflate(self, data: bytes, room: int) -> bytes:
        self._any = True
        try:
            piece = self._packer.decompress(data, room)
        except zlib.error as error:
            # "deflate" should be zlib's format, and some send the bare one: its first two bytes tell.
            if self._bits != _ZLIB or len(self._fed) >= _ZLIB_HEAD:
                raise ValueError(f"the body cannot be unpacked: {error}") from None
            self._bits = _RAW
            self._packer = zlib.decompressobj(_RAW)
            return self._inflate(self._fed + data, room)
        self._fed = (self._fed + data[:_ZLIB_HEAD])[:_ZLIB_HEAD]
        return piece


def make_inflater(coding: str) -> Inflater | None:
    """What unpacks a Content-Encoding; None when there is nothing to unpack.

    Raises:
        ValueError: a coding that was not asked for.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip"):
        return Inflater("gzip")
    if coding == "deflate":
        return Inflater("deflate")
    raise ValueError(f"the body is packed as {coding[:40]!r}, which was not asked for")
