"""The content blocks of Converse: text, media, tool calls and results, cache points."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from callgate.errors import ResponseError
from callgate.providers.canonical.json import as_dict, as_list, read_json, write_json
from callgate.providers.canonical.messages import (
    Media,
    Part,
    read_parts,
    refuse,
    refuse_system_media,
    replayed,
)
from callgate.providers.canonical.tools import fit_id, read_tool_uses, result_id

__all__ = ["REPLAY_NAME", "ContentWriter", "cache_point", "tools_as_text"]

REPLAY_NAME = "bedrock"

Block = dict[str, Any]

_IMAGE_FORMATS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "gif": "gif", "webp": "webp"}
_VIDEO_FORMATS = frozenset({"mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv"})
_DOCUMENT_FORMATS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_UNFIT_FOR_NAME = re.compile(r"[^a-zA-Z0-9 ()\[\]-]+|(?<=\s)\s+")
_LONGEST_NAME = 200
_SYSTEM_BLOCKS = frozenset({"text", "cachePoint", "guardContent"})
_CACHE_TTLS = ("5m", "1h")


def cache_point(mark: Any) -> list[Block]:
    """The block for a `cache_control` mark; it stands behind what is to be cached.

    >>> cache_point({"type": "ephemeral", "ttl": "1h"})
    [{'cachePoint': {'type': 'default', 'ttl': '1h'}}]
    """
    if not isinstance(mark, Mapping):
        return []
    ttl = mark.get("ttl")
    return [{"cachePoint": {"type": "default", **({"ttl": ttl} if ttl in _CACHE_TTLS else {})}}]


@dataclass(frozen=True, slots=True)
class ContentWriter:
    """Encodes messages as blocks.

    Attributes:
        caches: True when the model accepts cache points; else `cache_control` is left out.
    """

    caches: bool

    def user(self, message: Mapping[str, Any]) -> list[Block]:
        """The content of a message. Blank text is left out: Bedrock accepts no blank text block.

        Raises:
            InvalidRequestError: A part cannot be encoded.
        """
        blocks: list[Block] = []
        for part, whole in read_parts(message.get("content")):
            block = _block(part, whole)
            if block is not None:
                blocks.append(block)
                blocks += self._mark(whole)
        return blocks + self._mark(message) if blocks else []

    def system(self, message: Mapping[str, Any]) -> list[Block]:
        """The content of a system message.

        Raises:
            InvalidRequestError: It holds something else than text.
        """
        blocks = self.user(message)
        if any(not block.keys() <= _SYSTEM_BLOCKS for block in blocks):
            raise refuse_system_media()
        return blocks

    def assistant(self, message: Mapping[str, Any]) -> list[Block]:
        """The blocks of an assistant message: those that the model sent, else its text and tool calls."""
        kept = replayed(message, REPLAY_NAME)
        if kept is not None:
            return [_replayable(block) for block in kept if not _is_blank_text(block)]
        blocks = self.user({"content": message.get("content")})
        for use in read_tool_uses(message):
            call = {"toolUseId": fit_id(use.id), "name": use.name, "input": use.arguments}
            blocks.append({"toolUse": call})
        return blocks + self._mark(message) if blocks else []

    def tool(self, message: Mapping[str, Any]) -> list[Block]:
        """The block of a tool message, with status "error" when the tool failed."""
        blocks = self.user({"content": message.get("content")})
        points = [block for block in blocks if "cachePoint" in block]  # not permitted within a result
        content = [_result_block(block) for block in blocks if "cachePoint" not in block]
        result: Block = {
            "toolUseId": fit_id(result_id(message)),
            "content": content or [{"text": "(nothing)"}],  # required, and not blank
        }
        if message.get("is_error"):
            result["status"] = "error"
        return [{"toolResult": result}, *(points[:1] or self._mark(message))]

    def _mark(self, marked: Mapping[str, Any]) -> list[Block]:
        return cache_point(marked.get("cache_control")) if self.caches else []


def tools_as_text(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with tool calls and results written as text.

    Converse refuses both in a request that offers no tools, and has no choice "none".
    """
    names: dict[str, str] = {}
    return [{**message, "content": _without_tools(message["content"], names)} for message in messages]


def _without_tools(blocks: list[Block], names: dict[str, str]) -> list[Block]:
    calls = any("toolUse" in block for block in blocks)
    written: list[Block] = []
    for block in blocks:
        use, result = as_dict(block.get("toolUse")), as_dict(block.get("toolResult"))
        if use:
            names[str(use.get("toolUseId"))] = name = str(use.get("name"))
            written.append({"text": f"[call of {name}: {write_json(use.get('input')).decode()}]"})
        elif result:
            name = names.get(str(result.get("toolUseId")), "a tool")
            failed = ", an error" if result.get("status") == "error" else ""
            written.append({"text": f"[result of {name}{failed}]"})
            written += [_result_as_content(as_dict(item)) for item in as_list(result.get("content"))]
        elif not (calls and "reasoningContent" in block):  # signed together with the call
            written.append(block)
    return written


def _result_as_content(block: Block) -> Block:
    return {"text": write_json(block["json"]).decode()} if "json" in block else block


def _result_block(block: Block) -> Block:
    text = block.get("text")
    if type(text) is str and text[:1] == "{":
        try:
            value = read_json(text)
        except ResponseError:
            return block
        if type(value) is dict:
            return {"json": value}
    return block


def _replayable(block: Any) -> Any:
    """A block as it may be sent: answers have a type "tool_use" in calls that requests do not accept."""
    use = as_dict(as_dict(block).get("toolUse"))
    if use.get("type") == "tool_use":
        return {**block, "toolUse": {name: value for name, value in use.items() if name != "type"}}
    return block


def _is_blank_text(block: Any) -> bool:
    text = as_dict(block).get("text")
    return isinstance(text, str) and not text.strip()


def _block(part: Part, whole: Mapping[str, Any]) -> Block | None:
    if isinstance(part, str):
        return {"text": part} if part.strip() else None
    if isinstance(part, Media):
        return _media_block(part)
    kind = whole.get("type")
    if kind == "refusal":
        text = str(whole.get("refusal"))
        return {"text": text} if text.strip() else None
    if kind in ("thinking", "reasoning"):
        return None  # of another model, without a signature of this one
    if "type" in whole:
        raise refuse(f"Bedrock takes no part of type {kind!r}")
    return dict(whole)  # Bedrock's own blocks have no type: {"cachePoint": ...}


def _media_block(media: Media) -> Block:
    media_type, _, subtype = (media.media_type or "").partition("/")
    name = media.name or (media.url or "").rpartition("/")[2]
    ending = name.rpartition(".")[2].lower()
    if media.kind == "image" or media_type == "image":
        image_format = _IMAGE_FORMATS.get(subtype.lower() or ending)
        if image_format is None:
            raise refuse("a picture for Bedrock is png, jpeg, gif or webp, and its type must be given")
        return {"image": {"format": image_format, "source": _source(media, "a picture")}}
    if media.kind == "audio":
        return {"audio": {"format": subtype or "wav", "source": _source(media, "a sound")}}
    if media_type == "video" or ending in _VIDEO_FORMATS:
        subtype = "mov" if subtype == "quicktime" else subtype
        video = ending if ending in _VIDEO_FORMATS else subtype
        return {"video": {"format": video, "source": _source(media, "a video")}}
    return _document(media, name, ending)


def _document(media: Media, name: str, ending: str) -> Block:
    kind = _DOCUMENT_FORMATS.get(media.media_type or "") or ending
    if kind not in _DOCUMENT_FORMATS.values():
        raise refuse(f"a part of type {media.kind} for Bedrock is a document: pdf, txt, csv, docx, ...")
    stem = name.rpartition(".")[0] or name or "document"
    title = _UNFIT_FOR_NAME.sub(" ", stem).strip()[:_LONGEST_NAME] or "document"
    return {"document": {"format": kind, "name": title, "source": _source(media, "a file")}}


def _source(media: Media, what: str) -> dict[str, Any]:
    if media.data is not None:
        return {"bytes": media.data}
    if media.url is not None and media.url.startswith("s3://"):
        return {"s3Location": {"uri": media.url}}
    raise refuse(f"Bedrock fetches nothing from the web: give {what} as a data URL, or by s3://")
