"""Request bodies and queries: JSON, forms, files, content."""

from __future__ import annotations

import io
import json
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from callgate.errors import (
    ConfigurationError,
)
from tests.network.one_request import HOST, pieces, sent_by


def test_params_join_the_query() -> None:
    sent = sent_by(url="/x?a=1", params={"b": True, "c": None, "d": [1, 2], "e": "ü &"})
    assert parse_qsl(sent.url.partition("?")[2], keep_blank_values=True) == [
        ("a", "1"), ("b", "true"), ("c", ""), ("d", "1"), ("d", "2"), ("e", "ü &"),
    ]  # fmt: skip
    assert sent_by(params="?raw=1").url == f"{HOST}/x?raw=1"
    assert sent_by(params=[("a", 1), ("a", 2)]).url == f"{HOST}/x?a=1&a=2"
    assert sent_by(settings={"params": {"v": 2}}, params={"a": 1}).url == f"{HOST}/x?v=2&a=1"


def test_json_goes_as_json_and_data_as_a_form() -> None:
    sent = sent_by("POST", json={"name": "Zoë", "age": 3})
    assert json.loads(sent.body) == {"name": "Zoë", "age": 3}
    assert sent.headers["content-type"] == "application/json"
    sent = sent_by("POST", data={"user": "john", "tags": ["a", "b"], "ok": True})
    assert parse_qsl(sent.body.decode()) == [("user", "john"), ("tags", "a"), ("tags", "b"), ("ok", "true")]
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("falsy", [{}, [], 0, False, ""])
def test_an_empty_json_body_is_a_body(falsy: Any) -> None:
    assert json.loads(sent_by("POST", json=falsy).body) == falsy


def test_content_goes_as_it_is() -> None:
    for content in (b"abc", "abc", [b"ab", b"c"], pieces()):
        sent = sent_by("PUT", content=content, headers={"Content-Type": "text/csv"})
        assert sent.body == b"abc"
        assert sent.headers == {"content-type": "text/csv"}
    assert sent_by("POST", data="abc").body == sent_by("POST", data=b"abc").body == b"abc"


def parts_of(sent: Any) -> dict[str, tuple[str | None, str, bytes]]:
    """The parts of a multipart body as the standard library reads it: name -> (file name, type, content)."""
    head = f"Content-Type: {sent.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + sent.body).get_payload()
    assert isinstance(parts, list)
    return {
        part.get_param("name", header="content-disposition"): (
            part.get_filename(), part.get_content_type(), part.get_payload(decode=True),
        )
        for part in parts
    }  # fmt: skip


def test_files_go_as_a_multipart_form_with_the_data_as_fields(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b"{}")
    with open(tmp_path / "c.json", "rb") as opened:
        sent = sent_by(
            "POST",
            data={"note": "hi"},
            files={
                "a": ("a.txt", b"\x00\r\n--x", "application/x-a"),
                "b": ("b.html", "<p>"),
                "c": tmp_path / "c.json",
                "d": opened,
                "e": io.BytesIO(b"raw"),
            },
        )
    assert parts_of(sent) == {
        "note": (None, "text/plain", b"hi"),
        "a": ("a.txt", "application/x-a", b"\x00\r\n--x"),
        "b": ("b.html", "text/html", b"<p>"),
        "c": ("c.json", "application/json", b"{}"),
        "d": ("c.json", "application/json", b"{}"),
        "e": ("upload", "application/octet-stream", b"raw"),
    }


def test_a_file_name_cannot_smuggle_a_header_in() -> None:
    sent = sent_by("POST", files=[("f", ('a"\r\nX-Evil: 1\r\n\r\n', b"x"))])
    assert b"X-Evil: 1\r\n" not in sent.body
    with pytest.raises(ConfigurationError):
        sent_by("POST", files={"f": ("a", b"x", "text/plain\r\nX-Evil: 1")})


@pytest.mark.parametrize(
    "bodies",
    [{"json": 1, "content": b""}, {"json": 1, "data": {}}, {"data": {}, "content": b""},
     {"files": {}, "json": 1}, {"files": {}, "data": b"x"}, {"json": {1, 2}}],
)  # fmt: skip
def test_bodies_that_contradict_or_have_no_form_are_refused(bodies: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        sent_by("POST", **bodies)
