"""Images in rows: a path, an address or a data URL beside the prompt becomes a part of the message.

A file is looked for when its row is read, so that a missing one is an error before the first call; it is read
only when its row is called, in a thread, so that memory holds the images of the rows in flight and no more.

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

from callgate.errors import InputError

__all__ = ["COLUMNS", "ImageFile", "ImageRequest", "ImageResolver", "image_type", "load_images"]

COLUMNS = ("image", "images")
"""The columns of a row that hold images: one, or a list of them."""

MOST_BYTES = 20 * 1024 * 1024
"""The largest image file that is sent. No provider takes larger ones."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"mif1", b"msf1"})


def image_type(start: bytes) -> str | None:
    """The media type of an image by the first bytes of its file; None: no image of a known kind.

    >>> image_type(b"GIF89a..."), image_type(b"<svg>")
    ('image/gif', None)
    """
    for signature, kind in _SIGNATURES:
        if start.startswith(signature):
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
        return "image/heic"
    return None


class ImageFile(str):
    """The path of an image, in the place of its data URL until the row is called.

    Attributes:
        identity: Its name in the row and its size, which identify it wherever its folder is.

    >>> ImageFile("/data/photos/cat.png", "photos/cat.png, 9 bytes").endswith(".png")
    True
    """

    identity: str

    def __new__(cls, path: str, identity: str = "") -> Self:
        self = super().__new__(cls, path)
        self.identity = identity or path
        return self


class ImageRequest(dict[str, Any]):
    """A request that names image files; `load` returns it with their contents.

    Attributes:
        source, line: Where its row is, for errors.

    Example::

        parts = [{"type": "image_url", "image_url": {"url": ImageFile("photos/cat.png")}}]
        request = ImageRequest({"messages": [{"role": "user", "content": parts}]}, "rows.jsonl", 1)
        ready = await request.load()
    """

    __slots__ = ("line", "source")

    def __init__(self, request: Mapping[str, Any], source: str, line: int) -> None:
        super().__init__(request)
        self.source = source
        self.line = line

    async def load(self) -> dict[str, Any]:
        """A copy in which each file is a data URL; the files are read in a thread, one after another.

        Raises:
            InputError: naming the row and the file, when one cannot be read or is no image.
        """
        messages = [await self._loaded(message) for message in self["messages"]]
        return {**self, "messages": messages}

    async def _loaded(self, message: dict[str, Any]) -> dict[str, Any]:
        content = message.get("content")
        if type(content) is not list:
            return message
        return {**message, "content": [await self._loaded_part(part) for part in content]}

    async def _loaded_part(self, part: Any) -> Any:
        image = part.get("image_url") if isinstance(part, dict) else None
        if not isinstance(image, dict) or not isinstance(path := image.get("url"), ImageFile):
            return part
        try:
            return {**part, "image_url": {**image, "url": await asyncio.to_thread(_read, path)}}
        except (OSError, ValueError) as error:
            wrong = f"image {str(path)!r}: {_why(error)}"
            raise InputError(wrong, source=self.source, line=self.line) from None


async def load_images(request: dict[str, Any]) -> dict[str, Any]:
    """The request as it is sent: with its images, or, if it names no image file, as it is.

    Raises:
        InputError: naming the row and the file, when one cannot be read or is no image.
    """
    return await request.load() if isinstance(request, ImageRequest) else request


class ImageResolver:
    """Puts the images of rows into their requests.

    Args:
        folder: The folder of the input: relative paths begin there, and paths reach only files below it.
        source: The input's name, for errors.
        allow_files: Further folders whose files may be sent.

    Example::

        resolver = ImageResolver("photos", source="photos/rows.jsonl")
        request = resolver.add_images(request, {"prompt": "What is this?", "image": "cat.png"}, line=1)
        ready = await load_images(request)
    """

    __slots__ = ("_folder", "_roots", "_source")

    def __init__(self, folder: str, source: str, allow_files: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._folder = folder
        self._source = source
        self._roots = [os.path.realpath(root) for root in (folder or os.curdir, *allow_files)]

    def add_images(self, request: dict[str, Any], record: Mapping[str, Any], line: int) -> dict[str, Any]:
        """The request with the record's images behind the text of its last user message.

        Args:
            request: With `messages`; it is not changed.
            record: The row: `image` and `images` hold paths, http(s) addresses or data URLs.
            line: Where the row is.

        Raises:
            InputError: naming the row, when an image is not there or cannot be sent.
        """
        given: list[Any] = []
        for name in COLUMNS:
            if record.get(name):
                given += self._listed(name, record[name], line)
        if not given:
            return request
        parts = [_part(self._resolve(image, line)) for image in given]
        messages = list(request["messages"])
        users = [index for index, message in enumerate(messages) if message["role"] == "user"]
        if not users:
            self._refuse("has an image, but no user message to put it in", line)
        message = messages[users[-1]]
        content = message.get("content") or []
        text = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(text, list):
            self._refuse("has an image, but the content of its message is neither a text nor a list", line)
        messages[users[-1]] = {**message, "content": text + parts}
        return ImageRequest({**request, "messages": messages}, self._source, line)

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
        return ImageRequest({**request, "messages": found}, self._source, line)

    def _found(self, message: dict[str, Any], line: int) -> dict[str, Any]:
        content = message.get("content")
        if type(content) is not list:
            return message
        parts = [self._found_part(part, line) for part in content]
        same = all(new is old for new, old in zip(parts, content, strict=True))
        return message if same else {**message, "content": parts}

    def _found_part(self, part: Any, line: int) -> Any:
        image = part.get("image_url") if isinstance(part, dict) else None
        if not isinstance(image, dict) or type(url := image.get("url")) is not str:
            return part
        # What has a scheme is sent as it is: some providers know further ones.
        if "://" in url[:20] or url[:5].lower() == "data:":
            return part
        return {**part, "image_url": {**image, "url": self._resolve(url, line)}}

    def _listed(self, name: str, value: Any, line: int) -> list[Any]:
        """The images of one column; a table holds a list as JSON."""
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError as error:
                self._refuse(f"{name} is no list: {error.msg}", line)
        return value if isinstance(value, list) else [value]

    def _resolve(self, image: Any, line: int) -> str:
        """The address of one image; a file's path stays one until its row is called."""
        if not isinstance(image, str) or not image.strip():
            self._refuse("an image must be a path, an https address or a data URL, and not empty", line)
        place: str = image.strip()
        scheme = place[:12].lower()
        if scheme.startswith(("http://", "https://")):
            return place
        if scheme.startswith("data:"):
            if scheme.startswith("data:image/") and ";base64," in place[:100]:
                return place
            self._refuse("a data URL of an image begins with data:image/TYPE;base64,", line)
        if "://" in place[:20]:
            self._refuse(f"image {place!r}: only http and https addresses can be sent", line)
        path = os.path.join(self._folder, place)
        size = 0
        try:
            real = os.path.realpath(path)  # of a link, where it leads
            allowed = any(real.startswith(os.path.join(root, "")) for root in self._roots)
            if allowed:
                found = os.stat(real)
                _check(found)
                size = found.st_size
        except (OSError, ValueError) as error:
            hint = "" if path == place else f" (looked for {path})"
            self._refuse(f"image {place[:200]!r}: {_why(error)}{hint}", line)
        if not allowed:
            raise InputError(
                f"image {place[:200]!r} is outside of {self._roots[0]}, the input's folder",
                source=self._source,
                line=line,
                setting="allow_files",
                remedy="to send it, name its folder with",
            )
        return ImageFile(real, f"{place}, {size} bytes")

    def _refuse(self, what: str, line: int) -> NoReturn:
        raise InputError(what, source=self._source, line=line) from None


def _part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return getattr(error, "strerror", None) or str(error)


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is not a regular file")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"has {found.st_size:,} bytes, and more than {MOST_BYTES:,} are not sent")


def _read(path: str) -> str:
    """The data URL of an image file whose path is resolved."""
    if os.path.realpath(path) != path:  # a link took its place after its row was read
        raise ValueError("is a link now")
    with open(path, "rb") as file:
        _check(os.fstat(file.fileno()))
        content = file.read()
    kind = image_type(content[:16])
    if kind is None:
        raise ValueError("is no PNG, JPEG, GIF, WebP or HEIC image, whatever its name is")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
