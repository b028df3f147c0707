"""Encodes the options of a request (params, json, data, files, cookies) as URL, headers and body."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import secrets
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from callgate.errors import ConfigurationError
from callgate.exact_json import dumps
from callgate.transport.origin import check_headers, origin_of

__all__ = ["Content", "Files", "Params", "Prepared", "join_url", "lower_names", "prepare"]

Params = Mapping[str, Any] | Sequence[tuple[str, Any]] | str
Content = bytes | str | Iterable[bytes] | AsyncIterable[bytes]
FileContent = bytes | str | Path | IO[bytes] | IO[str]
File = FileContent | tuple[str | None, FileContent] | tuple[str | None, FileContent, str]
Files = Mapping[str, File] | Sequence[tuple[str, File]]

_FORM = "application/x-www-form-urlencoded"


@dataclass(slots=True)
class Prepared:
    """An encoded request, which can be sent several times. Header names are in lower case."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


async def prepare(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    params: Params | None = None,
    json: Any = None,
    data: Mapping[str, Any] | bytes | str | None = None,
    content: Content | None = None,
    files: Files | None = None,
    cookies: Mapping[str, str] | None = None,
) -> Prepared:
    """Encode a request. Files and iterators are read into memory, so that the request can be sent again.

    Args:
        method, url: The request line.
        headers: With lower-case names; they override the headers of the body.
        params: Added to the query of the URL. A value None becomes empty; a list repeats the name.
        json: A body as JSON.
        data: A body as a form (mapping), or the body itself (text or bytes).
        content: The body itself.
        files: A body as a multipart form, with `data` as its fields.
        cookies: Names and values.

    Raises:
        ConfigurationError: more than one body, a header or cookie that cannot be sent, or a value that is not
            JSON.
    """
    if sum(body is not None for body in (json, data if files is None else files, content)) > 1:
        raise ConfigurationError("give one body: json=, data= (with files=, if any), or content=")
    kind: str | None = None
    body: bytes | None = None
    if json is not None:
        kind, body = "application/json", _as_json(json)
    elif files is not None:
        kind, body = await _as_multipart(data, files)
    elif isinstance(data, bytes | str):
        body = data.encode() if isinstance(data, str) else data
    elif data is not None:
        kind, body = _FORM, urlencode(_pairs(data)).encode()
    elif content is not None:
        body = await _read_content(content)
    sent = dict(headers)
    if kind is not None:
        sent.setdefault("content-type", kind)
    if cookies:
        if any(";" in name or ";" in value or "=" in name for name, value in cookies.items()):
            raise ConfigurationError("a cookie's name or value holds a character that would end it")
        crumbs = "; ".join(f"{name}={value}" for name, value in cookies.items())
        sent["cookie"] = f"{sent['cookie']}; {crumbs}" if "cookie" in sent else crumbs
    check_headers(sent)
    return Prepared(method.upper(), _with_params(url, params), sent, body)


def join_url(base_url: str, url: str) -> str:
    """The URL below the base, or the URL itself when it is a whole one.

    Raises:
        ConfigurationError: neither, or one with a user or a password in it.

    >>> join_url("https://api.example.com/v1", "/users")
    'https://api.example.com/v1/users'
    """
    if "://" in url.partition("?")[0]:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ConfigurationError("a URL must be http or https")
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError(
                f"the URL at {origin_of(url)} holds a user name or password; pass these as auth="
            )
        return url
    if url.startswith("//"):
        raise ConfigurationError("a URL must be a path below the base URL or a whole URL, not //...")
    if not url or url.startswith("?"):
        return base_url + url
    return f"{base_url}/{url.lstrip('/')}"


def lower_names(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The same headers with lower-case names, checked.

    Raises:
        ConfigurationError: a header cannot be sent.
    """
    check_headers(headers or {})
    return {name.lower(): value for name, value in (headers or {}).items()}


def _as_json(value: Any) -> bytes:
    try:
        return dumps(value)
    except TypeError as error:
        raise ConfigurationError(f"json= holds a value that is not JSON: {error}") from None


def _with_params(url: str, params: Params | None) -> str:
    if not params:
        return url
    query = params.lstrip("?") if isinstance(params, str) else urlencode(_pairs(params), quote_via=quote)
    url, hash_, fragment = url.partition("#")
    join = "" if url.endswith(("?", "&")) else "&" if "?" in url else "?"
    return f"{url}{join}{query}{hash_}{fragment}"


def _pairs(fields: Mapping[str, Any] | Sequence[tuple[str, Any]]) -> list[tuple[str, str]]:
    items = fields.items() if isinstance(fields, Mapping) else fields
    pairs = []
    for name, value in items:
        values = value if isinstance(value, list | tuple | set) else (value,)
        pairs += [(str(name), _as_text(one)) for one in values]
    return pairs


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.decode() if isinstance(value, bytes) else str(value)


async def _read_content(content: Content) -> bytes:
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if isinstance(content, AsyncIterable):
        return b"".join([piece async for piece in content])
    return b"".join(content)


async def _as_multipart(data: Mapping[str, Any] | bytes | str | None, files: Files) -> tuple[str, bytes]:
    if isinstance(data, bytes | str):
        raise ConfigurationError("files= goes with data= as a mapping: its items become fields of the form")
    boundary = secrets.token_hex(16)
    parts = [_part(boundary, name, None, None, value.encode()) for name, value in _pairs(data or {})]
    for name, file in files.items() if isinstance(files, Mapping) else files:
        parts.append(await _file_part(boundary, name, file))
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


async def _file_part(boundary: str, name: str, file: File) -> bytes:
    filename: str | None
    kind: str | None = None
    if isinstance(file, tuple):
        filename, content, *rest = file
        kind = rest[0] if rest else None
    else:
        content = file
        filename = os.path.basename(str(getattr(file, "name", ""))) or "upload"
    if isinstance(content, Path):
        read: bytes | str = await asyncio.to_thread(content.read_bytes)
    elif isinstance(content, bytes | str):
        read = content
    else:
        read = await asyncio.to_thread(content.read)
    kind = kind or mimetypes.guess_type(filename or "")[0] or "application/octet-stream"
    check_headers({"content-type": kind})
    return _part(boundary, name, filename, kind, read.encode() if isinstance(read, str) else read)


def _part(boundary: str, name: str, filename: str | None, kind: str | None, content: bytes) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'
    if filename is not None:
        head += f'; filename="{_quoted(filename)}"'
    if kind is not None:
        head += f"\r\nContent-Type: {kind}"
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def _quoted(name: str) -> str:
    """Quote a name as browsers do in forms: line ends and quotes are percent-encoded."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
