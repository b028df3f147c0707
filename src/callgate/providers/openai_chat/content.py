"""The content of a chat message in the form that a host takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.messages import Media, Part, is_video, read_parts, refuse
from callgate.providers.openai_chat.quirks import ChatQuirks

__all__ = ["split_media", "write_content"]


def write_content(content: Any, quirks: ChatQuirks, *, only_text: bool) -> Any:
    """A content that is a list, as parts; text and None stay as they are.

    Args:
        content: Of the message.
        quirks: Of the host.
        only_text: True for a message that may hold nothing but text.

    Raises:
        InvalidRequestError: A part cannot be sent, or has no place in this message.
    """
    if content is None or type(content) is str:
        return content
    parts = [_write_part(part, whole, quirks) for part, whole in read_parts(content)]
    if only_text:
        for part in parts:
            if part["type"] not in _TEXTUAL:
                raise refuse(f"a part of type {part['type']} may stand in a message of the user only")
        if quirks.plain_text:
            return "\n".join(str(part.get("text") or part.get("refusal") or "") for part in parts)
    return parts or ""


def split_media(content: Any) -> tuple[Any, list[Mapping[str, Any]]]:
    """The content of a tool's message without its media, and the media."""
    if content is None or type(content) is str:
        return content, []
    read = read_parts(content)
    media = [whole for part, whole in read if isinstance(part, Media)]
    texts = [whole or part for part, whole in read if type(part) is str]
    return (texts, media) if media else (content, [])


def _write_part(part: Part, whole: Mapping[str, Any], quirks: ChatQuirks) -> dict[str, Any]:
    if type(part) is str:
        written = {"type": "text", "text": part}
    elif isinstance(part, Media):
        written = _write_media(part, whole, quirks)
    else:
        kind = whole.get("type")
        if type(kind) is not str:
            raise refuse("a part of a message has no type")
        return dict(whole)
    return written | {
        k: v for k, v in whole.items() if k not in _PART_FIELDS and _takes(k, written["type"], quirks)
    }


def _takes(name: str, kind: str, quirks: ChatQuirks) -> bool:
    if name == "cache_control":
        return quirks.cache_control and (kind == "text" or not quirks.provider)
    return name != "prompt_cache_breakpoint" or "prompt_cache_options" not in quirks.lacks


def _write_media(media: Media, whole: Mapping[str, Any], quirks: ChatQuirks) -> dict[str, Any]:
    provider = quirks.provider or "this provider"
    if media.kind == "image":
        image = whole.get("image_url")
        given = dict(image) if isinstance(image, Mapping) else {"url": image, "detail": whole.get("detail")}
        if media.url is None and media.data is None:
            raise refuse(f"{provider} takes an image by its address or its data, not by the id of a file")
        if given.get("detail") is None or not quirks.image_detail:
            given.pop("detail", None)
        return {"type": "image_url", "image_url": given}
    if media.kind == "audio":
        if not quirks.audio:
            raise refuse(f"{provider} takes no sound in a message")
        sound = whole["input_audio"]
        written = sound["data"] if quirks.audio_form == "text" else dict(sound)
        return {"type": "input_audio", "input_audio": written}
    return _write_file(media, whole, quirks, provider)


def _write_file(media: Media, whole: Mapping[str, Any], quirks: ChatQuirks, provider: str) -> dict[str, Any]:
    given = whole.get("file")
    file = {k: v for k, v in (given or whole).items() if k != "type"}
    named = {"filename": media.name} if media.name else {}
    if media.url is not None:
        address = media.url
    elif media.data is not None:
        address = f"data:{media.media_type or 'application/pdf'};base64,{media.data}"
    else:
        address = None
    if is_video(media):
        if quirks.files not in ("data_url", None):
            raise refuse(f"{provider} takes no video in a message")
        return {"type": "video_url", "video_url": {"url": address}}
    match quirks.files:
        case "openai":
            if media.url is not None:
                raise refuse(f"{provider} takes a file as data or by its id, not by an address")
            return {"type": "file", "file": {k: v for k, v in file.items() if k in _FILE_FIELDS}}
        case "data_url":
            if address is None:
                return {"type": "file", "file": {"file_id": media.file_id, **named}}
            return {"type": "file", "file": {"file_data": address, **named}}
        case "url":
            if address is None:
                return {"type": "file", "file": {"file_id": media.file_id}}
            return {"type": "file", "file": {"url": address, **named}}
        case "document":
            if address is None:
                return {"type": "file", "file_id": media.file_id}
            titled = {"document_name": media.name} if media.name else {}
            return {"type": "document_url", "document_url": address, **titled}
        case "none":
            raise refuse(f"{provider} takes no files in a message; send the text of the file")
        case _:
            return {"type": "file", "file": file}


_TEXTUAL = frozenset({"text", "refusal", "thinking"})
_PART_FIELDS = frozenset(
    {
        "type", "text", "image_url", "input_audio", "file", "detail", "file_data", "file_id", "file_url",
        "filename",
    }
)  # fmt: skip
_FILE_FIELDS = ("file_data", "file_id", "filename")
