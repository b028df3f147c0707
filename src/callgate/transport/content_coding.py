"""Unpacking of bodies, bounded by a cap: 16 KB of gzip can become 512 MB.

Servers and proxies label bodies wrongly: "UTF-8", "gzip, identity", "gzip" on a body that a proxy has already
unpacked. So the first bytes of a body decide, and its Content-Encoding only where they cannot.
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
# Real codings that cannot be unpacked here. Any other unknown name ("UTF-8", "none") is no coding.
_UNSUPPORTED: Final = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "exi", "pack200-gzip"})
_NONE: Final = frozenset({"", "identity"})
# As many bytes as tell the codings apart.
_HEAD_BYTES: Final = 4
_SAMPLE_BYTES: Final = 256
# Codings on top of each other; more are an attack.
_MOST_CODINGS: Final = 3


class TruncatedError(ValueError):
    """A packed body ended before its end."""


class Inflater:
    """Unpacks a body that comes in pieces.

    Args:
        codings: The codings of its label in the order in which they were applied.

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
        self._unpacker: Any = None  # None, once decided: the body is not packed

    def feed(self, data: bytes, room: int) -> bytes:
        """What `data` unpacks to, cut off at `room` bytes and one, which shows that there are more.

        Raises:
            ValueError: the body cannot be unpacked.
        """
        if not self._decided:
            self._head += data
            if len(self._head) < _HEAD_BYTES:
                return b""
            data = self._decide()
        made = data if self._unpacker is None else self._unpack(data, room)
        return made if self._inner is None or len(made) > room else self._inner.feed(made, room)

    def finish(self, room: int) -> bytes:
        """The rest, now that the body has ended.

        Raises:
            TruncatedError: the body ended in the middle.
            ValueError: the body cannot be unpacked.
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
        """Choose the unpacker by the first bytes; these come back."""
        self._decided = True
        head, self._head = self._head, b""
        if head.startswith(GZIP_MAGIC):
            self._unpacker = zlib.decompressobj(_GZIP)
        elif self._coding == "deflate" and head and not _is_text(head):
            # Should be zlib's format, and some servers send the bare one, which has no such header.
            is_zlib = head[0] & 15 == 8 and int.from_bytes(head[:2], "big") % 31 == 0
            self._unpacker = zlib.decompressobj(_ZLIB if is_zlib else _RAW)
        elif self._coding in _UNSUPPORTED and head and not _is_text(head):
            raise ValueError(f"unsupported Content-Encoding: {self._coding}")
        return head

    def _unpack(self, data: bytes, room: int) -> bytes:
        made: list[bytes] = []
        room += 1
        while data and room > 0:
            if self._unpacker.eof:
                # gzip may be several files in one; what else follows is padding.
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
    """What unpacks a body with this Content-Encoding; None when it is not packed.

    Raises:
        ValueError: more codings on top of each other than anything honest has.
    """
    codings = [coding for coding in map(str.strip, label.lower().split(",")) if coding not in _NONE]
    if len(codings) > _MOST_CODINGS:
        raise ValueError("too many codings in Content-Encoding")
    return Inflater(codings) if codings else None


def _is_text(sample: bytes) -> bool:
    """Whether bytes are text, as far as their beginning shows."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample[:_SAMPLE_BYTES])
    except UnicodeDecodeError:
        return False
    return not any(char < " " and char not in "\t\n\r" for char in text)
