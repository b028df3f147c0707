"""What Gemini refuses: fields that Google's SDK does not declare, and Gemini's own rules."""

from __future__ import annotations

from typing import Any

from google.genai import types
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

__all__ = ["problems_of_gemini"]


class _Body(BaseModel):
    """The body of `generateContent`; the SDK declares its parts, not the whole."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    contents: list[types.Content]
    system_instruction: types.Content | None = None
    tools: list[types.Tool] | None = None
    tool_config: types.ToolConfig | None = None
    safety_settings: list[types.SafetySetting] | None = None
    cached_content: str | None = None
    service_tier: types.ServiceTier | None = None
    labels: dict[str, str] | None = None
    generation_config: types.GenerationConfig | None = None


def problems_of_gemini(body: dict[str, Any], *, third: bool) -> list[str]:
    """What is wrong with a body of `generateContent`, a line each.

    Args:
        body: As it is sent.
        third: True for Gemini 3 and later.
    """
    try:
        _Body.model_validate(body)
    except ValidationError as error:
        return [f"{problem['loc']}: {problem['msg']}" for problem in error.errors()]
    problems = _of_order(body["contents"], third)
    settings = body.get("generationConfig", {})
    declared = [f for tool in body.get("tools", ()) for f in tool.get("functionDeclarations", ())]
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    if not third and declared and "responseMimeType" in settings:
        problems.append("a schema beside functions")
    if not third and declared and len(body["tools"]) > 1:
        problems.append("functions beside other tools")
    if not {*calling.get("allowedFunctionNames", ())} <= {function["name"] for function in declared}:
        problems.append("an allowed function is not declared")
    if "allowedFunctionNames" in calling and calling["mode"] not in ("ANY", "VALIDATED"):
        problems.append(f"allowed functions in mode {calling['mode']}")
    if ("thinkingLevel" if not third else "thinkingBudget") in settings.get("thinkingConfig", {}):
        problems.append("the thinking config of another generation")
    return problems


def _of_order(contents: list[dict[str, Any]], third: bool) -> list[str]:
    problems = ["the first turn is not the user's"] if contents[0]["role"] != "user" else []
    for before, turn in zip([None, *contents], contents, strict=False):
        parts = turn["parts"]
        if before is not None and before["role"] == turn["role"]:
            problems.append(f"two turns of the {turn['role']}")
        asked = [p["functionCall"]["name"] for p in (before or {}).get("parts", ()) if "functionCall" in p]
        answered = [p["functionResponse"]["name"] for p in parts if "functionResponse" in p]
        if sorted(asked) != sorted(answered):
            problems.append(f"calls {asked} are followed by responses {answered}")
        if any("functionResponse" in part for part in parts[len(answered) :]):
            problems.append("something stands before a function response")
        if any(part.get("text") == "" for part in parts):
            problems.append("an empty text")
        calls = [part for part in parts if "functionCall" in part]
        if third and calls and "thoughtSignature" not in calls[0]:
            problems.append("an unsigned call")
        if not third and any("parts" in part.get("functionResponse", {}) for part in parts):
            problems.append("media in a function response")
    return problems
