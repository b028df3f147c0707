"""The type of a file is found by its content, and by its name only where contents are alike."""

from __future__ import annotations

import pytest

from callgate.batch.input.media_kinds import AUDIO, DOCUMENT, IMAGE, VIDEO, MediaKind, image_type

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
JPEG = b"\xff\xd8\xff\xe0" + b"pixels"
ZIP = b"PK\x03\x04\x00"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"\x00\x00\x00\x18ftypheic", "image/heic"),
        (b"\x00\x00\x00\x18ftypisom", None),
        (b"", None),
    ],
)
def test_the_content_tells_the_type(start: bytes, kind: str | None) -> None:
    assert image_type(start) == kind


@pytest.mark.parametrize(
    ("kind", "start", "path", "media_type"),
    [
        (IMAGE, PNG, "a.jpg", "image/png"),
        (AUDIO, b"RIFF\x00\x00\x00\x00WAVEfmt ", "a", "audio/wav"),
        (AUDIO, b"ID3\x04", "a", "audio/mp3"),
        (AUDIO, b"\xff\xfb\x90", "a", "audio/mp3"),
        (AUDIO, b"fLaC", "a", "audio/flac"),
        (AUDIO, b"OggS", "a", "audio/ogg"),
        (AUDIO, b"\x00\x00\x00\x18ftypM4A ", "a", "audio/m4a"),
        (AUDIO, b"\x00\x00\x00\x18ftypmp42", "a.m4a", None),
        (VIDEO, b"\x00\x00\x00\x18ftypmp42", "a", "video/mp4"),
        (VIDEO, b"\x00\x00\x00\x18ftypqt  ", "a", "video/quicktime"),
        (VIDEO, b"\x1a\x45\xdf\xa3", "a", "video/webm"),
        (VIDEO, b"\x00\x00\x00\x18ftypM4A ", "a.mp4", None),
        (VIDEO, b"plain", "a.mp4", None),
        (DOCUMENT, b"%PDF-1.7", "a.txt", "application/pdf"),
        (DOCUMENT, ZIP, "a.docx", DOCX),
        (DOCUMENT, ZIP, "a.zip", None),
        (DOCUMENT, ZIP, "a.md", None),
        (DOCUMENT, b"# Title", "a.md", "text/markdown"),
        (DOCUMENT, b"a,b", "a.csv", "text/csv"),
        (DOCUMENT, b"Hello", "README", "text/plain"),
        (DOCUMENT, b"{}", "a.json", "text/plain"),
        (DOCUMENT, b"\x00\x01", "a.txt", None),
        (DOCUMENT, b"text", "a.png", None),
    ],
)
def test_the_type_of_a_file(kind: MediaKind, start: bytes, path: str, media_type: str | None) -> None:
    assert kind.find_type(start, path) == media_type
