"""The content blocks of the Messages format: text, media, tool results, and the provider's own blocks."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.messages import (
    Media,
    Part,
    is_video,
    read_parts,
    refuse,
    refuse_system_media,
    replayed,
)
from callgate.providers.canonical.tools import fit_id, read_tool_uses, result_id

__all__ = [
    "REPLAY_NAME",
    "assistant_blocks",
    "content_blocks",
    "plain_if_text",
    "system_blocks",
    "tool_result",
]

REPLAY_NAME = "anthropic"

_OWN_BLOCKS = frozenset(
    {
        "image", "document", "search_result", "tool_use", "tool_result", "redacted_thinking",
        "container_upload", "tool_reference", "fallback", "compaction",
    }
)  # fmt: skip


def content_blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The content of a message as blocks. Blank text is left out: Claude accepts no blank text block.

    Raises:
        InvalidRequestError: A part cannot be encoded.
    """
    blocks = [block for part, whole in read_parts(message.get("content")) if (block := _block(part, whole))]
    if blocks and message.get("cache_control") is not None:
        blocks[-1]["cache_control"] = message["cache_control"]
    return blocks


def system_blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The content of a system message as text blocks.

    Raises:
        InvalidRequestError: It holds something else than text.
    """
    blocks = content_blocks(message)
    if any(block["type"] != "text" for block in blocks):
        raise refuse_system_media()
    return blocks


def assistant_blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The blocks of an assistant message: those that Claude sent, else its text and tool calls."""
    kept = replayed(message, REPLAY_NAME)
    if kept is not None:
        return [block for block in kept if not _is_blank_text(block)]
    blocks = content_blocks(message)
    for use in read_tool_uses(message):
        blocks.append({"type": "tool_use", "id": fit_id(use.id), "name": use.name, "input": use.arguments})
    return blocks


def tool_result(message: Mapping[str, Any]) -> dict[str, Any]:
    """The block of a tool message, with its pictures and files, and `is_error` when the tool failed."""
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": fit_id(result_id(message))}
    content = plain_if_text(content_blocks({"content": message.get("content")}))
    if content:
        result["content"] = content
    for name in ("is_error", "cache_control"):
        if message.get(name) is not None:
            result[name] = message[name]
    return result


def plain_if_text(blocks: list[dict[str, Any]]) -> Any:
    """One block of nothing but text as a plain string, else the blocks."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _block(part: Part, whole: Mapping[str, Any]) -> dict[str, Any] | None:
    if isinstance(part, str):
        if not part.strip():
            return None
        block: dict[str, Any] = {"type": "text", "text": part}
    elif isinstance(part, Media):
        block = _media_block(part)
    else:
        return _other_block(whole)
    if whole.get("cache_control") is not None:
        block["cache_control"] = whole["cache_control"]
    return block


def _other_block(part: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = str(part.get("type"))
    if kind == "refusal":
        text = str(part.get("refusal"))
        return {"type": "text", "text": text} if text.strip() else None
    if kind == "thinking":
        # Claude accepts its own signed thoughts only; those of other models are left out.
        return dict(part) if isinstance(part.get("signature"), str) and part["signature"] else None
    if kind not in _OWN_BLOCKS and not kind.endswith(("_tool_use", "_tool_result")):
        raise refuse(f"Claude takes no part of type {kind!r}")
    return dict(part)


def _is_blank_text(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "text" and not str(block.get("text")).strip()


def _media_block(media: Media) -> dict[str, Any]:
    if media.kind == "audio":
        raise refuse("Claude takes no sound; leave parts of type input_audio out")
    if is_video(media):
        raise refuse("Claude takes no video")
    block = "image" if media.kind == "image" or (media.media_type or "").startswith("image/") else "document"
    if media.file_id:
        return {"type": block, "source": {"type": "file", "file_id": media.file_id}}
    if media.url:
        return {"type": block, "source": {"type": "url", "url": media.url}}
    data, media_type = media.data or "", media.media_type
    source: dict[str, Any] = {"type": "base64", "media_type": media_type, "data": data}
    if block == "document":
        if (media_type or "").startswith("text/"):
            source = {"type": "text", "media_type": "text/plain", "data": _plain_text(data)}
        else:
            source["media_type"] = media_type or "application/pdf"
    elif media_type is None:
        raise refuse("a picture as a data URL must name its type: data:image/png;base64,...")
    written = {"type": block, "source": source}
    if block == "document" and media.name:
        written["title"] = media.name
    return written


def _plain_text(data: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        raise refuse("the data of a part of type file is no base64") from None
