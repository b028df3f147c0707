"""Decompression of bodies, bounded by a cap: 16 KB of gzip can become 512 MB.

Some servers and proxies send a wrong Content-Encoding: "UTF-8", "gzip, identity", "gzip" for a body that a
proxy has decompressed. So the first bytes of a body decide, and its Content-Encoding only if they are
ambiguous.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["GZIP_MAGIC", "Inflater", "TruncatedError", "make_inflater"]

GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP: Final = zlib.MAX_WBITS | 16
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
# Codings that are not supported. Any other unknown name ("UTF-8", "none") is ignored.
_UNSUPPORTED: Final = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "exi", "pack200-gzip"})
_NONE: Final = frozenset({"", "identity"})
# The number of first bytes that distinguish the codings.
_HEAD_BYTES: Final = 4
_RAW_HEAD_BYTES: Final = 16
_SAMPLE_BYTES: Final = 256
# The most codings applied one after another; more are an attack.
_MOST_CODINGS: Final = 3


class TruncatedError(ValueError):
    """A compressed body is cut off."""


class Inflater:
    """Decompresses a body that arrives in pieces.

    Args:
        codings: The codings of its Content-Encoding, in the order in which they were applied.

    >>> Inflater(["deflate"]).feed(zlib.compress(b"hello"), 100)
    b'hello'
    >>> Inflater(["utf-8"]).feed(b"hello", 100)
    b'hello'
    """

    __slots__ = ("_coding", "_decided", "_head", "_inner", "_unpacker")

    def __init__(self, codings: Sequence[str]) -> None:
        self._coding = codings[-1]
        self._inner = Inflater(codings[:-1]) if len(codings) > 1 else None
        self._head = b""
        self._decided = False
        self._unpacker: Any = None  # None once decided: the body is not compressed

    def feed(self, data: bytes, room: int) -> bytes:
        """The decompressed `data`, at most `room + 1` bytes; the last one shows that there are more.

        Raises:
            ValueError: the body cannot be decompressed.
        """
        if not self._decided:
            self._head += data
            # Raw deflate has no header: only more bytes show that it is no text.
            is_raw = self._coding == "deflate" and not _has_zlib_header(self._head)
            if len(self._head) < (_RAW_HEAD_BYTES if is_raw else _HEAD_BYTES):
                return b""
            data = self._decide()
        made = data if self._unpacker is None else self._unpack(data, room)
        return made if self._inner is None or len(made) > room else self._inner.feed(made, room)

    def finish(self, room: int) -> bytes:
        """The rest, after the end of the body.

        Raises:
            TruncatedError: the body is cut off.
            ValueError: the body cannot be decompressed.
        """
        made = b""
        if not self._decided:
            data = self._decide()
            made = data if self._unpacker is None else self._unpack(data, room)
        if self._unpacker is not None and not self._unpacker.eof:
            raise TruncatedError("the packed body is cut off")
        if self._inner is None:
            return made
        return self._inner.feed(made, room) + self._inner.finish(room)

    def _decide(self) -> bytes:
        """Choose the decompressor by the first bytes, and return these."""
        self._decided = True
        head, self._head = self._head, b""
        if head.startswith(GZIP_MAGIC):
            self._unpacker = zlib.decompressobj(_GZIP)
        elif head and not _is_text(head):
            if _has_zlib_header(head):
                self._unpacker = zlib.decompressobj(_ZLIB)
            elif self._coding == "deflate":
                self._unpacker = zlib.decompressobj(_RAW)  # some servers leave zlib's header out
            elif self._coding in _UNSUPPORTED:
                raise ValueError(f"unsupported Content-Encoding: {self._coding}")
        return head

    def _unpack(self, data: bytes, room: int) -> bytes:
        made: list[bytes] = []
        room += 1
        while data and room > 0:
            if self._unpacker.eof:
                # gzip may have several members; anything else that follows is padding.
                if not GZIP_MAGIC.startswith(data[:2]):
                    break
                self._unpacker = zlib.decompressobj(_GZIP)
            try:
                piece = self._unpacker.decompress(data, room)
            except zlib.error as error:
                raise ValueError(f"the body cannot be unpacked: {error}") from None
            made.append(piece)
            room -= len(piece)
            data = self._unpacker.unused_data
        return b"".join(made)


def make_inflater(label: str) -> Inflater | None:
    """The decompressor for a Content-Encoding; None if the body is not compressed.

    Raises:
        ValueError: there are too many codings.
    """
    codings = [coding for coding in map(str.strip, label.lower().split(",")) if coding not in _NONE]
    if len(codings) > _MOST_CODINGS:
        raise ValueError("too many codings in Content-Encoding")
    return Inflater(codings) if codings else None


def _has_zlib_header(head: bytes) -> bool:
    return len(head) > 1 and head[0] & 15 == 8 and int.from_bytes(head[:2], "big") % 31 == 0


def _is_text(sample: bytes) -> bool:
    """True if the first bytes are UTF-8 text."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample[:_SAMPLE_BYTES])
    except UnicodeDecodeError:
        return False
    return not any(char < " " and char not in "\t\n\r" for char in text)
