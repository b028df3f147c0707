"""The one request format, read: its messages and their parts. `chat_tools` reads its tools.

The format is OpenAI's. Each function here takes a piece of it apart for a dialect with another form, and
refuses it in one sentence when it cannot.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from callgate.errors import InvalidRequestError

__all__ = [
    "MEANT_FOR_OPENAI",
    "REPLAY",
    "Media",
    "Part",
    "is_video",
    "read_max_tokens",
    "read_messages",
    "read_model",
    "read_parts",
    "read_stop",
    "refuse",
    "refuse_several_answers",
    "refuse_system_media",
    "replayed",
    "text_of",
]

REPLAY = "replay"
"""The key under which an assistant message, and `Response.metadata`, may hold the provider's own content.

Some answers must go back to the provider as they came: signed thoughts, say. Such an answer has
`metadata["replay"] = {"dialect": ..., "content": [...]}`. Put it into the assistant message under the same
key, and the dialect that made it sends its content instead of a translation; every other dialect leaves it
out.
"""

MEANT_FOR_OPENAI = frozenset(
    {
        "stream_options", "logit_bias", "store", "prediction", "modalities", "verbosity", "prompt_cache_key",
        "safety_identifier",
    }
)  # fmt: skip
"""Fields of the request that only OpenAI's own dialects have. Most providers refuse a body with a field that
they do not know, and none of these changes what is asked, so the others leave them out and a request fits
every provider."""

_EXAMPLE = "messages=[{'role': 'user', 'content': '...'}]"


def refuse(what: str, **facts: str) -> InvalidRequestError:
    """The error for a request that cannot be said; nothing has been sent. `facts`: setting and remedy."""
    return InvalidRequestError(
        what, surely_unsent=True, setting=facts.get("setting"), remedy=facts.get("remedy")
    )


def read_model(request: Mapping[str, Any]) -> str:
    """The model's name.

    Raises:
        InvalidRequestError: when there is none.
    """
    model = request.get("model")
    if type(model) is not str or not model.strip():
        raise refuse("the request names no model", setting="model", remedy="give")
    return model.strip()


def read_messages(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The messages, at least one; a bare `prompt` is a message of the user.

    Raises:
        InvalidRequestError: when there are none, or one of them is no message.
    """
    messages = request.get("messages")
    to_messages = getattr(messages, "to_messages", None)  # a Conversation
    if callable(to_messages):
        messages = to_messages()
    prompt = request.get("prompt")
    if messages is None and type(prompt) is str:
        return [{"role": "user", "content": prompt}]
    if not _is_sequence(messages) or not messages:
        raise refuse(f"the request has no messages; pass {_EXAMPLE}")
    read: list[Mapping[str, Any]] = []
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            to_dict = getattr(message, "to_dict", None) or getattr(message, "model_dump", None)
            message = to_dict() if callable(to_dict) else None
        if not isinstance(message, Mapping) or type(message.get("role")) is not str:
            raise refuse(f"messages[{index}] is no message with a role and a content")
        read.append(message)
    return read


# -- parts of a message ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Media:
    """A picture, a sound or a file in a message: inline, by address, or by the id of an upload.

    Attributes:
        kind: What it is.
        media_type: "image/png"; None when it is not known.
        data: Its bytes in base64, when it is inline.
        url: Its address.
        file_id: Its id, when it was uploaded to the provider before.
        name: Its file name.
    """

    kind: Literal["image", "audio", "file"]
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    name: str | None = None


Part = str | Media | Mapping[str, Any]
"""Text, media, or a part that is not ours (a provider's own block), as it stands."""


def read_parts(content: Any) -> list[tuple[Part, Mapping[str, Any]]]:
    """The parts of a message's content, each with the part as it stands (empty for bare text).

    Text that is empty is left out: no provider takes an empty part.

    Raises:
        InvalidRequestError: when a part has no type, or a picture has no address.

    >>> read_parts([{"type": "text", "text": "Hi"}])[0][0]
    'Hi'
    """
    if content is None:
        return []
    if type(content) is str:
        return [(content, {})] if content else []
    if not _is_sequence(content):
        raise refuse(f"a message's content is text or a list of parts, not {type(content).__name__}")
    parts: list[tuple[Part, Mapping[str, Any]]] = []
    for part in content:
        if type(part) is str:
            part = {"type": "text", "text": part}
        if not isinstance(part, Mapping):
            raise refuse(f"a part of a message is an object with a type, not {type(part).__name__}")
        kind = part.get("type")
        if kind in ("text", "input_text", "output_text"):
            text = part.get("text")
            if type(text) is not str:
                raise refuse("a part of type text has no text")
            if text:
                parts.append((text, part))
        elif type(kind) is str and kind in _MEDIA:
            parts.append((_MEDIA[kind](part), part))
        else:
            parts.append((part, part))
    return parts


def is_video(media: Media) -> bool:
    """True if a file is a video, by its type or else by its name.

    >>> is_video(Media("file", url="https://example.com/talk.mp4"))
    True
    """
    name = media.name or (media.url or "").partition("?")[0]
    media_type = media.media_type or mimetypes.guess_type(name)[0] or ""
    return media.kind == "file" and media.file_id is None and media_type.startswith("video/")


def text_of(content: Any) -> str:
    """The text of a content, its parts one after the other; other parts than text are passed over."""
    return "".join(part for part, _ in read_parts(content) if type(part) is str)


def _image(part: Mapping[str, Any]) -> Media:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if type(url) is not str or not url:
        raise refuse("a part of type image_url has no url; give an https address or a data URL")
    return _by_url("image", url, None)


def _audio(part: Mapping[str, Any]) -> Media:
    audio = part.get("input_audio")
    data = audio.get("data") if isinstance(audio, Mapping) else None
    if not isinstance(audio, Mapping) or type(data) is not str or not data:
        raise refuse("a part of type input_audio has no data")
    return Media("audio", f"audio/{audio['format']}" if audio.get("format") else None, data)


def _file(part: Mapping[str, Any]) -> Media:
    file = part.get("file")
    if not isinstance(file, Mapping):
        file = part
    name = file.get("filename")
    data, address, file_id = file.get("file_data"), file.get("file_url"), file.get("file_id")
    if type(data) is str and data:
        if data.startswith("data:"):
            return _by_url("file", data, name)
        return Media("file", None, data, name=name)
    if type(address) is str and address:
        return _by_url("file", address, name)
    if type(file_id) is str and file_id:
        return Media("file", file_id=file_id, name=name)
    raise refuse("a part of type file has neither file_data nor file_url nor file_id")


_MEDIA: Mapping[Any, Any] = {
    "image_url": _image,
    "input_image": _image,
    "input_audio": _audio,
    "file": _file,
    "input_file": _file,
}


def _by_url(kind: Literal["image", "file"], url: str, name: str | None) -> Media:
    if not url.startswith("data:"):
        return Media(kind, url=url, name=name)
    head, comma, data = url[5:].partition(",")
    if not comma or not data:
        raise refuse(f"a data URL of a part of type {kind} holds no data")
    media_type, *options = head.split(";")
    if "base64" not in options:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    else:
        try:
            binascii.a2b_base64(data[-64:])
        except ValueError:
            raise refuse(f"the data URL of a part of type {kind} is cut short, or no base64") from None
    return Media(kind, media_type or None, data, name=name)


# -- the rest --------------------------------------------------------------------------------------------


def read_stop(request: Mapping[str, Any]) -> list[str]:
    """The stop sequences, as a list."""
    stop = request.get("stop")
    if stop is None:
        return []
    return [stop] if type(stop) is str else list(stop)


def read_max_tokens(request: Mapping[str, Any]) -> int | None:
    """The most tokens that may be written, under either of OpenAI's names; None when there is no bound.

    Raises:
        InvalidRequestError: It is no whole number from 0.
    """
    for name in ("max_completion_tokens", "max_tokens"):
        value = request.get(name)
        if value is not None:
            if type(value) is not int or value < 0:
                raise refuse(f"{name} must be a whole number of tokens, got {value!r}")
            return value
    return None


def refuse_several_answers(request: Mapping[str, Any]) -> None:
    """For providers that give one answer a call.

    Raises:
        InvalidRequestError: when `n` asks for more.
    """
    wanted = request.get("n")
    if wanted not in (None, 1):
        raise refuse(f"this provider gives one answer a call, not n={wanted}; make {wanted} calls")


def refuse_system_media() -> InvalidRequestError:
    """The error for a system message with anything but text, for providers that take no more there."""
    return refuse("a system message holds text only; put pictures and files into a message of the user's")


def replayed(message: Mapping[str, Any], dialect: str) -> list[Any] | None:
    """The provider's own content in a message of the assistant's, when this dialect made it (see REPLAY)."""
    replay = message.get(REPLAY)
    if isinstance(replay, Mapping) and replay.get("dialect") == dialect and replay.get("content"):
        return list(replay["content"])
    return None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
