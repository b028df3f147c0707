"""Media in rows: a path, an address or a data URL beside the prompt becomes a part of the message.

A file is looked for when its row is read, so that a missing one is an error before the first call; it is read
only when its row is called, in a thread, so that memory holds the files of the rows in flight and no more.

Rows may come from others, so their paths reach only files below the input's folder, or below the folders that
`allow_files` names.
"""

from __future__ import annotations

import asyncio
import base64
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self

import orjson

from callgate.batch.input.media_kinds import AUDIO, DOCUMENT, IMAGE, VIDEO, MediaKind
from callgate.errors import InputError

__all__ = ["COLUMNS", "MediaPart", "MediaPath", "MediaRequest", "MediaResolver", "load_media"]

COLUMNS = {column: kind for kind in (IMAGE, DOCUMENT, AUDIO, VIDEO) for column in kind.columns}
"""The columns of a row that hold media, and the kind of each: one, or a list of them."""

MOST_BYTES = 20 * 1024 * 1024
"""The largest file that is sent inside a request; most providers take no larger requests."""


class MediaPath(str):
    """The path of a file, in the place of its data URL until the row is called.

    Attributes:
        identity: Its name in the row and its size, which identify it wherever its folder is.

    >>> MediaPath("/data/photos/cat.png", "photos/cat.png, 9 bytes").endswith(".png")
    True
    """

    identity: str

    def __new__(cls, path: str, identity: str = "") -> Self:
        self = super().__new__(cls, path)
        self.identity = identity or path
        return self


class MediaPart(dict[str, Any]):
    """A part of a message that names a file; its path stands in the place of the data.

    Attributes:
        kind, path: What it is, and where.

    >>> MediaPart(IMAGE, MediaPath("photos/cat.png"))["image_url"]
    {'url': 'photos/cat.png'}
    """

    __slots__ = ("kind", "path")

    def __init__(self, kind: MediaKind, path: MediaPath, whole: Mapping[str, Any] | None = None) -> None:
        super().__init__(_with_address(kind, path, path, whole or {}))
        self.kind = kind
        self.path = path

    def load(self) -> dict[str, Any]:
        """The part with the content of its file.

        Raises:
            OSError: It cannot be read.
            ValueError: It is too large, or none of its kind.
        """
        return _with_address(self.kind, _read(self.kind, self.path), self.path, self)


class MediaRequest(dict[str, Any]):
    """A request that names files; `load` returns it with their contents.

    Attributes:
        source, line: Where its row is, for errors.

    Example::

        parts = [MediaPart(IMAGE, MediaPath("photos/cat.png"))]
        request = MediaRequest({"messages": [{"role": "user", "content": parts}]}, "rows.jsonl", 1)
        ready = await request.load()
    """

    __slots__ = ("line", "source")

    def __init__(self, request: Mapping[str, Any], source: str, line: int) -> None:
        super().__init__(request)
        self.source = source
        self.line = line

    async def load(self) -> dict[str, Any]:
        """A copy with the files' contents; the files are read in a thread, one after another.

        Raises:
            InputError: naming the row and the file, when one cannot be read or is none of its kind.
        """
        messages = [await self._loaded(message) for message in self["messages"]]
        return {**self, "messages": messages}

    async def _loaded(self, message: dict[str, Any]) -> dict[str, Any]:
        content = message.get("content")
        if type(content) is not list:
            return message
        return {**message, "content": [await self._loaded_part(part) for part in content]}

    async def _loaded_part(self, part: Any) -> Any:
        if not isinstance(part, MediaPart):
            return part
        try:
            return await asyncio.to_thread(part.load)
        except (OSError, ValueError) as error:
            wrong = f"{part.kind.name} {part.path!r}: {_why(error)}"
            raise InputError(wrong, source=self.source, line=self.line) from None


async def load_media(request: dict[str, Any]) -> dict[str, Any]:
    """The request as it is sent: with its media, or, if it names no file, as it is.

    Raises:
        InputError: naming the row and the file, when one cannot be read or is none of its kind.
    """
    return await request.load() if isinstance(request, MediaRequest) else request


class MediaResolver:
    """Puts the media of rows into their requests.

    Args:
        folder: The folder of the input: relative paths begin there, and paths reach only files below it.
        source: The input's name, for errors.
        allow_files: Further folders whose files may be sent.

    Example::

        resolver = MediaResolver("photos", source="photos/rows.jsonl")
        request = resolver.add_media(request, {"prompt": "What is this?", "image": "cat.png"}, line=1)
        ready = await load_media(request)
    """

    __slots__ = ("_folder", "_roots", "_source")

    def __init__(self, folder: str, source: str, allow_files: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._folder = folder
        self._source = source
        self._roots = [os.path.realpath(root) for root in (folder or os.curdir, *allow_files)]

    def add_media(self, request: dict[str, Any], record: Mapping[str, Any], line: int) -> dict[str, Any]:
        """The request with the record's media behind the text of its last user message.

        Args:
            request: With `messages`; it is not changed.
            record: The row: the columns in `COLUMNS` hold paths, http(s) addresses or data URLs.
            line: Where the row is.

        Raises:
            InputError: naming the row, when a file is not there or cannot be sent.
        """
        parts: list[dict[str, Any]] = []
        kind = IMAGE
        for column, each in COLUMNS.items():
            if record.get(column):
                kind = each
                parts += [
                    self._part(kind, given, line) for given in self._listed(column, record[column], line)
                ]
        if not parts:
            return request
        messages = list(request["messages"])
        users = [index for index, message in enumerate(messages) if message["role"] == "user"]
        if not users:
            self._refuse(f"has {_a(kind)}, but no user message to put it in", line)
        message = messages[users[-1]]
        content = message.get("content") or []
        text = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(text, list):
            self._refuse(f"has {_a(kind)}, but the content of its message is neither a text nor a list", line)
        messages[users[-1]] = {**message, "content": text + parts}
        return MediaRequest({**request, "messages": messages}, self._source, line)

    def find_files(self, request: dict[str, Any], line: int) -> dict[str, Any]:
        """The request with the paths of images in its messages resolved, as those in a column are.

        Args:
            request: With `messages`; it is not changed, and returned as it is when it names no file.
            line: Where the row is.

        Raises:
            InputError: naming the row, when an image is not there or cannot be sent.
        """
        messages = request["messages"]
        if not any(type(message.get("content")) is list for message in messages):
            return request
        found = [self._found(message, line) for message in messages]
        if all(new is old for new, old in zip(found, messages, strict=True)):
            return request
        return MediaRequest({**request, "messages": found}, self._source, line)

    def _found(self, message: dict[str, Any], line: int) -> dict[str, Any]:
        content = message.get("content")
        if type(content) is not list:
            return message
        parts = [self._found_part(part, line) for part in content]
        same = all(new is old for new, old in zip(parts, content, strict=True))
        return message if same else {**message, "content": parts}

    def _found_part(self, part: Any, line: int) -> Any:
        image = part.get("image_url") if isinstance(part, dict) else None
        if (
            isinstance(part, MediaPart)
            or not isinstance(image, dict)
            or type(url := image.get("url")) is not str
        ):
            return part
        # What has a scheme is sent as it is: some providers know further ones.
        if "://" in url[:20] or url[:5].lower() == "data:":
            return part
        return MediaPart(IMAGE, self._path(IMAGE, url.strip(), line), part)

    def _listed(self, column: str, value: Any, line: int) -> list[Any]:
        """The media of one column; a table holds a list as JSON."""
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError as error:
                self._refuse(f"{column} is no list: {error.msg}", line)
        return value if isinstance(value, list) else [value]

    def _part(self, kind: MediaKind, given: Any, line: int) -> dict[str, Any]:
        """The part of the message for one of a row's media; a file is read later."""
        address = "a path, an https address or a data URL" if kind.takes_address else "a path or a data URL"
        if not isinstance(given, str) or not given.strip():
            self._refuse(f"{_a(kind)} must be {address}, and not empty", line)
        place: str = given.strip()
        scheme = place[:12].lower()
        if scheme.startswith("data:"):
            beginning = "data:" if kind is DOCUMENT else f"data:{kind.name}/"
            if not scheme.startswith(beginning) or ";base64," not in place[:150]:
                self._refuse(f"a data URL of {_a(kind)} begins with {beginning}TYPE;base64,", line)
            return kind.part(place, kind.name)
        if "://" in place[:20]:
            if not kind.takes_address or not scheme.startswith(("http://", "https://")):
                self._refuse(f"{kind.name} {place!r}: only {address} can be sent", line)
            return kind.part(place, place)
        return MediaPart(kind, self._path(kind, place, line))

    def _path(self, kind: MediaKind, place: str, line: int) -> MediaPath:
        """The file that a path leads to, if it may be sent."""
        path = os.path.join(self._folder, place)
        shown = repr(place if len(place) <= 200 else place[:200] + "...")
        size = 0
        try:
            real = os.path.realpath(path)  # of a link, where it leads
            allowed = any(real.startswith(os.path.join(root, "")) for root in self._roots)
            if allowed:
                found = os.stat(real)
                _check(found)
                size = found.st_size
        except (OSError, ValueError) as error:
            hint = "" if path == place else f" (looked for {path[:300]})"
            column = f"a column named {kind.name} holds files that are sent"
            self._refuse(f"{kind.name} {shown}: {_why(error)}{hint}; {column}", line)
        if not allowed:
            raise InputError(
                f"{kind.name} {shown} is outside of {self._roots[0]}, the input's folder",
                source=self._source,
                line=line,
                setting="allow_files",
                remedy="to send it, name its folder with",
            )
        return MediaPath(real, f"{place}, {size} bytes")

    def _refuse(self, what: str, line: int) -> NoReturn:
        raise InputError(what, source=self._source, line=line) from None


def _with_address(kind: MediaKind, url: str, path: str, whole: Mapping[str, Any]) -> dict[str, Any]:
    """The part with this address, or data URL, in the place where `whole` may have another."""
    part = kind.part(url, os.path.basename(path))
    field = part["type"]
    return {**whole, **part, field: {**whole.get(field, {}), **part[field]}}


def _a(kind: MediaKind) -> str:
    return f"{'an' if kind.name[0] in 'aeiou' else 'a'} {kind.name}"


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return getattr(error, "strerror", None) or str(error)


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is not a regular file")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"has {found.st_size:,} bytes, and more than {MOST_BYTES:,} are not sent")


def _read(kind: MediaKind, path: str) -> str:
    """The data URL of a file whose path is resolved."""
    if os.path.realpath(path) != path:  # a link took its place after its row was read
        raise ValueError("is a link now")
    with open(path, "rb") as file:
        _check(os.fstat(file.fileno()))
        content = file.read()
    media_type = kind.find_type(content[:1024], path)
    if media_type is None:
        raise ValueError(f"is no {kind.forms}, whatever its name is")
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
