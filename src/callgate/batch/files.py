"""Opening what a batch reads: a path or standard input, plain or compressed, regular or not."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from typing import BinaryIO, cast

from callgate.errors import InputError

__all__ = ["READ_ERRORS", "STDIN", "describe", "format_of", "is_regular", "open_bytes"]

STDIN = "-"
"""The input that is standard input."""

_COMPRESSED = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_FORMATS = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".pq": "parquet"}

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
        # A plain file object on the descriptor: unlike sys.stdin's it has no lock that a thread still
        # waiting in a read could hold when the interpreter ends.
        raw = io.FileIO(0, closefd=False) if path == STDIN else io.FileIO(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=describe(path)) from None
    if compression == "zstd":
        return _open_zstd(raw, path)
    return io.BufferedReader(raw, 256 * 1024)


def _open_zstd(raw: io.FileIO, path: str) -> BinaryIO:
    try:
        import zstandard  # an optional extra
    except ImportError:
        raw.close()
        raise InputError(
            "reading zstd needs one more package: pip install 'callgate[zstd]'", source=path
        ) from None
    reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=True)
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, _ZstdReader(reader, zstandard.ZstdError))))


class _ZstdReader(io.RawIOBase):
    """zstandard's reader with its errors made EOFError, as gzip's are."""

    def __init__(self, reader: BinaryIO, error: type[Exception]) -> None:
        self._reader = reader
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        try:
            return cast(int, self._reader.readinto(buffer))  # type: ignore[attr-defined]
        except self._error as error:
            raise EOFError(str(error)) from error

    def close(self) -> None:
        self._reader.close()
        super().close()
