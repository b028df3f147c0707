"""The kinds of media in a row: their columns, their types by content, and their parts of a message."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["AUDIO", "DOCUMENT", "IMAGE", "VIDEO", "MediaKind", "image_type"]

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"mif1", b"msf1"})
_SOUNDS = (
    (b"ID3", "audio/mp3"),
    (b"\xff\xfb", "audio/mp3"),
    (b"\xff\xf3", "audio/mp3"),
    (b"\xff\xf2", "audio/mp3"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
)
_M4A_BRANDS = frozenset({b"M4A ", b"M4B "})
_WEBM = b"\x1a\x45\xdf\xa3"
# What `mimetypes` knows only where the system has a list of its own.
_OFFICE = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".md": "text/markdown",
}


@dataclass(frozen=True, slots=True)
class MediaKind:
    """One kind of media.

    Attributes:
        name: The column that holds one of them, and the word for it in errors.
        columns: `name`, and the column that holds a list.
        forms: The types that are sent, for errors.
        find_type: The media type by the first bytes and the path of a file; None: it is none of this kind.
        part: The part of a message, of an address or data URL and a file name.
        takes_address: Whether an http(s) address is sent as it is.
    """

    name: str
    columns: tuple[str, str]
    forms: str
    find_type: Callable[[bytes, str], str | None]
    part: Callable[[str, str], dict[str, Any]]
    takes_address: bool = True


def image_type(start: bytes) -> str | None:
    """The media type of an image by the first bytes of its file; None: no image of a known kind.

    >>> image_type(b"GIF89a..."), image_type(b"<svg>")
    ('image/gif', None)
    """
    for signature, kind in _IMAGES:
        if start.startswith(signature):
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
        return "image/heic"
    return None


def _sound_type(start: bytes, path: str) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
        return "audio/wav"
    if start[4:8] == b"ftyp" and start[8:12] in _M4A_BRANDS:
        return "audio/m4a"
    return next((kind for signature, kind in _SOUNDS if start.startswith(signature)), None)


def _video_type(start: bytes, path: str) -> str | None:
    if start.startswith(_WEBM):
        return "video/webm"
    if start[4:8] != b"ftyp" or start[8:12] in _M4A_BRANDS | _HEIC_BRANDS:
        return None
    return "video/quicktime" if start[8:12] == b"qt  " else "video/mp4"


def _document_type(start: bytes, path: str) -> str | None:
    """Of a PDF its content decides; other documents differ in their names only, if they are text or zip."""
    if start.startswith(b"%PDF-"):
        return "application/pdf"
    ending = os.path.splitext(path)[1].lower()
    named = _OFFICE.get(ending) or mimetypes.guess_type(path)[0]
    if start.startswith(b"PK\x03\x04"):
        return named if ending in _OFFICE and ending != ".md" else None
    if b"\0" in start or (named or "").partition("/")[0] in ("image", "audio", "video"):
        return None
    return named if named is not None and named.startswith("text/") else "text/plain"


def _image_part(url: str, name: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _file_part(url: str, name: str) -> dict[str, Any]:
    if url.lower().startswith(("http://", "https://")):
        return {"type": "file", "file": {"file_url": url}}
    return {"type": "file", "file": {"filename": name, "file_data": url}}


def _sound_part(url: str, name: str) -> dict[str, Any]:
    head, comma, data = url.partition(";base64,")
    if not comma:  # a path, until its file is read
        return {"type": "input_audio", "input_audio": {"data": url}}
    return {"type": "input_audio", "input_audio": {"data": data, "format": head.rpartition("/")[2]}}


IMAGE = MediaKind(
    "image",
    ("image", "images"),
    "PNG, JPEG, GIF, WebP or HEIC image",
    lambda start, path: image_type(start),
    _image_part,
)
DOCUMENT = MediaKind(
    "document", ("document", "documents"), "PDF, text, docx or xlsx document", _document_type, _file_part
)
AUDIO = MediaKind(
    "audio",
    ("audio", "audios"),
    "WAV, MP3, FLAC, Ogg or M4A sound",
    _sound_type,
    _sound_part,
    takes_address=False,
)
VIDEO = MediaKind("video", ("video", "videos"), "MP4, QuickTime or WebM video", _video_type, _file_part)
