"""The parts of Gemini's contents: text, media, function calls and responses."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from callgate.errors import ResponseError
from callgate.providers.canonical.json import read_json
from callgate.providers.canonical.messages import (
    Media,
    Part,
    read_parts,
    refuse,
    refuse_system_media,
    replayed,
)
from callgate.providers.canonical.tools import read_tool_uses

__all__ = ["OUR_ID", "REPLAY_NAME", "PartWriter", "responses_first"]

REPLAY_NAME = "gemini"
OUR_ID = "callgate-"
"""The start of the ids that calls get here which came without one; Gemini never sees them."""

# Gemini 3 refuses an unsigned function call; Google's documented value for a call of another model.
_NO_SIGNATURE = "skip_thought_signature_validator"
_MEDIA_IN_RESPONSES = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})
"""The types that a function response may hold (Gemini 3 and later)."""


@dataclass(frozen=True, slots=True)
class PartWriter:
    """Encodes messages as parts.

    Attributes:
        signs: True when the model wants a signature on calls, and takes media in function responses.
        names: Call id -> function name, as far as the conversation has been written.
    """

    signs: bool
    names: dict[str, str] = field(default_factory=dict)

    def user(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The content of a message.

        Raises:
            InvalidRequestError: A part cannot be encoded.
        """
        written = (_part(part, whole) for part, whole in read_parts(message.get("content")))
        return [part for part in written if part is not None]

    def system(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The content of a system message.

        Raises:
            InvalidRequestError: It holds something else than text.
        """
        parts = self.user(message)
        if any(part.keys() != {"text"} for part in parts):
            raise refuse_system_media()
        return parts

    def assistant(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The parts of an assistant message: those that the model sent, else its text and calls."""
        uses = read_tool_uses(message)
        self.names.update({use.id: use.name for use in uses})
        kept = replayed(message, REPLAY_NAME)
        if kept is not None:
            return kept
        parts = self.user(message)
        first = True
        for use, call in zip(uses, message.get("tool_calls") or (), strict=True):
            function_call: dict[str, Any] = {"name": use.name, "args": use.arguments}
            if call.get("id") and not use.id.startswith(OUR_ID):
                function_call["id"] = use.id
            part: dict[str, Any] = {"functionCall": function_call}
            signature = _signature(call)
            if signature or (self.signs and first):
                part["thoughtSignature"] = signature or _NO_SIGNATURE
            parts.append(part)
            first = False
        return parts

    def tool(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The function response of a tool message; pictures and files that it cannot hold stand beside it.

        Raises:
            InvalidRequestError: The message answers no call of the conversation.
        """
        identity = str(message.get("tool_call_id") or "")
        name = self.names.get(identity) or message.get("name")
        if not name:
            raise refuse(
                f"the tool message for {identity or 'no tool_call_id'!r} answers no call of the conversation;"
                " keep the assistant message that made the call"
            )
        parts = self.user(message)
        text = "".join(part["text"] for part in parts if "text" in part)
        media = [part for part in parts if "text" not in part]
        response: dict[str, Any] = {
            "name": name,
            "response": _answer(text, failed=bool(message.get("is_error"))),
        }
        if identity and not identity.startswith(OUR_ID):
            response["id"] = identity
        within = [part for part in media if self.signs and _fits_response(part)]
        if within:
            response["parts"] = within
        return [{"functionResponse": response}, *(part for part in media if part not in within)]


def responses_first(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts with the function responses before everything else: Gemini counts them against the calls."""
    return sorted(parts, key=lambda part: "functionResponse" not in part)


def _signature(call: Mapping[str, Any]) -> str | None:
    """The signature of a call, where Google's own OpenAI endpoint puts it."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    return signature if isinstance(signature, str) else None


def _answer(text: str, *, failed: bool) -> dict[str, Any]:
    value: Any = text
    if text[:1] == "{":
        try:
            value = read_json(text)
        except ResponseError:
            value = text
    if failed:
        return {"error": value}
    return value if type(value) is dict else {"result": text}


def _fits_response(part: Mapping[str, Any]) -> bool:
    data = part.get("inlineData") or part.get("fileData") or {}
    return data.get("mimeType") in _MEDIA_IN_RESPONSES


def _part(part: Part, whole: Mapping[str, Any]) -> dict[str, Any] | None:
    if isinstance(part, str):
        return {"text": part}
    if isinstance(part, Media):
        return _media_part(part)
    kind = whole.get("type")
    if kind == "refusal":
        return {"text": str(whole.get("refusal"))}
    if kind in ("thinking", "reasoning"):
        return None  # of another model, without a signature of this one
    if "type" in whole:
        raise refuse(f"Gemini takes no part of type {kind!r}")
    return dict(whole)  # Gemini's own parts have no type: {"fileData": ...}


def _media_part(media: Media) -> dict[str, Any]:
    if media.data is not None:
        media_type = media.media_type or (mimetypes.guess_type(media.name)[0] if media.name else None)
        if media_type is None:
            raise refuse(
                f"the data of a part of type {media.kind} must name its type: data:image/png;base64,..."
            )
        return {"inlineData": {"mimeType": media_type, "data": media.data}}
    address = media.url or media.file_id or ""
    file = {"fileUri": address}
    media_type = mimetypes.guess_type(address.partition("?")[0])[0]
    if media_type is not None:
        file["mimeType"] = media_type
    return {"fileData": file}
