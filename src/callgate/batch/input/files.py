"""Opening what a batch reads: a path or standard input, plain or compressed, regular or not."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from callgate.errors import InputError

__all__ = [
    "READ_ERRORS",
    "STDIN",
    "describe",
    "format_of",
    "is_regular",
    "open_bytes",
    "refuse_unknown_table",
]

STDIN = "-"
"""The input that is standard input."""

_BUFFER = 256 * 1024
_COMPRESSED_READ = 16 * 1024  # little: a hundred times as much may come of it
_COMPRESSED = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_FORMATS = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".pq": "parquet"}

# Whose content would be taken for JSON lines, as any other ending is.
_OTHER_TABLES = frozenset({".xlsx", ".xls", ".ods", ".feather", ".arrow", ".avro", ".orc", ".db", ".sqlite"})

READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
"""What reading a damaged file raises (zstd's own error is made one of these)."""


def describe(path: str) -> str:
    """The input's name in messages."""
    return "standard input" if path == STDIN else path


def format_of(path: str) -> tuple[str, str | None]:
    """The format and the compression that a path's name tells: ("jsonl", "gzip").

    >>> format_of("rows.csv.gz"), format_of("rows.ndjson")
    (('csv', 'gzip'), ('jsonl', None))
    """
    stem, ending = os.path.splitext(path.lower())
    compression = _COMPRESSED.get(ending)
    if compression is not None:
        ending = os.path.splitext(stem)[1]
    return _FORMATS.get(ending, "jsonl"), compression


def refuse_unknown_table(path: str) -> None:
    """Refuse a name that means a table of a kind that is neither read nor written here.

    Raises:
        InputError: for such a name; it says which there are.
    """
    ending = os.path.splitext(path.lower())[1]
    if ending in _OTHER_TABLES:
        raise InputError(f"{ending} is not read or written; use .csv, .tsv, .parquet or .jsonl", source=path)


def is_regular(path: str) -> bool:
    """Whether reading never waits for somebody to write: a file, not a pipe or a terminal.

    Raises:
        InputError: when it does not exist or is a directory.
    """
    try:
        mode = os.fstat(0).st_mode if path == STDIN else os.stat(path).st_mode
    except FileNotFoundError:
        raise InputError("there is no such file", source=path) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=describe(path)) from None
    if stat.S_ISDIR(mode):
        raise InputError("is a directory; name a file", source=path)
    return stat.S_ISREG(mode)


def open_bytes(path: str, compression: str | None = None) -> BinaryIO:
    """The decompressed bytes; `read1(n)` gives what is there without waiting for n.

    Raises:
        InputError: when it cannot be opened, or a package for its compression is missing.
    """
    try:
        if compression == "gzip":
            return cast(BinaryIO, gzip.GzipFile(path))
        raw = _open_stdin() if path == STDIN else io.FileIO(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=describe(path)) from None
    if compression == "zstd":
        return _open_zstd(raw, path)
    return io.BufferedReader(raw, _BUFFER)


def _open_stdin() -> io.RawIOBase:
    if hasattr(os, "pread") and stat.S_ISREG(os.fstat(0).st_mode):
        return _RedirectedStdin()
    # A plain file object on the descriptor: unlike sys.stdin's it has no lock that a thread still waiting in
    # a read could hold when the interpreter ends.
    return io.FileIO(0, closefd=False)


class _RedirectedStdin(io.RawIOBase):
    """A file that standard input was redirected from, read anew each time that it is opened: the position of
    the descriptor itself, which all that read it share, stays where it was."""

    def __init__(self) -> None:
        self._place = os.lseek(0, 0, os.SEEK_CUR)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(0, len(buffer), self._place)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def _open_zstd(raw: io.RawIOBase, path: str) -> BinaryIO:
    try:
        import zstandard  # an optional extra
    except ImportError:
        raw.close()
        raise InputError(
            "reading zstd needs one more package: pip install 'callgate[zstd]'", source=path
        ) from None
    reader = _ZstdReader(raw, zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError)
    return cast(BinaryIO, io.BufferedReader(reader, _BUFFER))


class _ZstdReader(io.RawIOBase):
    """Reads frame by frame; one that is damaged or cut off is an EOFError, as it is with gzip.

    zstandard's own reader takes a file that is cut off for one that has ended.
    """

    def __init__(self, raw: io.RawIOBase, frame: Callable[[], Any], error: type[Exception]) -> None:
        self._raw = raw
        self._new_frame = frame
        self._error = error
        self._frame: Any = None  # the one that has begun and not ended
        self._compressed = b""  # what was read of the next one
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain:
            compressed = self._compressed or self._raw.read(_COMPRESSED_READ)
            if not compressed:
                if self._frame is not None:
                    raise EOFError("the compressed data end before their end marker")
                return 0
            self._decompress(compressed)
        size = min(len(buffer), len(self._plain))
        buffer[:size] = self._plain[:size]
        self._plain = self._plain[size:]
        return size

    def _decompress(self, compressed: bytes) -> None:
        if self._frame is None:
            self._frame = self._new_frame()
        try:
            self._plain = memoryview(self._frame.decompress(compressed))
        except self._error as error:
            raise EOFError(str(error)) from error
        self._compressed = b""
        if self._frame.eof:
            self._compressed = self._frame.unused_data
            self._frame = None

    def close(self) -> None:
        self._raw.close()
        super().close()
