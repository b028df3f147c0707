"""What Converse refuses: by its published model (botocore), and by its own rules beside the model."""

from __future__ import annotations

import re
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

__all__ = ["problems_of_converse"]

SHAPE = (
    botocore.session.get_session()
    .get_service_model("bedrock-runtime")
    .operation_model("Converse")
    .input_shape
)


def problems_of_converse(body: dict[str, Any], model: str) -> list[str]:
    """What is wrong with a body of Converse, a line each."""
    request = {**body, "modelId": model}
    report = ParamValidator().validate(request, SHAPE)
    problems = [report.generate_report()] if report.has_errors() else []
    problems += _of_values(request, SHAPE, "body")
    messages, system = body["messages"], body.get("system", ())
    problems += _of_order(messages)
    blocks = [block for turn in messages for block in turn["content"]]
    if any("toolUse" in block or "toolResult" in block for block in blocks) and "toolConfig" not in body:
        problems.append("tool blocks without toolConfig")
    texts = [block["text"] for block in [*blocks, *system] if "text" in block]
    results = [block["toolResult"]["content"] for block in blocks if "toolResult" in block]
    texts += [item["text"] for content in results for item in content if "text" in item]
    if any(not text.strip() for text in texts):
        problems.append("blank text")
    fields = body.get("additionalModelRequestFields", {})
    if "thinking" in fields and body.get("toolConfig", {}).get("toolChoice", {"auto": {}}) != {"auto": {}}:
        problems.append("a forced tool beside thinking")
    if "thinking" in fields and body.get("inferenceConfig", {}).get("temperature", 1) != 1:
        problems.append("a temperature beside thinking")
    return problems


def _of_order(messages: list[dict[str, Any]]) -> list[str]:
    problems = ["the first turn is not the user's"] if messages[0]["role"] != "user" else []
    for before, turn in zip([None, *messages], messages, strict=False):
        earlier = [] if before is None else before["content"]
        if before is not None and before["role"] == turn["role"]:
            problems.append(f"two turns of the {turn['role']}")
        asked = {block["toolUse"]["toolUseId"] for block in earlier if "toolUse" in block}
        results = [block["toolResult"]["toolUseId"] for block in turn["content"] if "toolResult" in block]
        if asked != set(results) or len(results) != len(set(results)):
            problems.append(f"calls {asked} are followed by results {results}")
    return problems


def _of_values(value: Any, shape: Any, where: str) -> list[str]:
    """Enumerations, patterns and upper bounds, which botocore does not check."""
    if shape.type_name == "structure" and isinstance(value, dict):
        return [
            line
            for name, item in value.items()
            if name in shape.members
            for line in _of_values(item, shape.members[name], f"{where}.{name}")
        ]
    if shape.type_name == "list":
        return [line for item in value for line in _of_values(item, shape.member, f"{where}[]")]
    if shape.type_name == "map":
        return [line for item in value.values() for line in _of_values(item, shape.value, f"{where}.*")]
    allowed, pattern = getattr(shape, "enum", None), shape.metadata.get("pattern")
    if allowed and value not in allowed:
        return [f"{where}: {value!r} is none of {allowed}"]
    if shape.type_name == "string" and pattern and not re.fullmatch(pattern, value):
        return [f"{where}: {value!r} does not match {pattern}"]
    if shape.type_name == "string" and len(value) > shape.metadata.get("max", len(value)):
        return [f"{where}: too long"]
    if shape.type_name in ("float", "integer") and value > shape.metadata.get("max", value):
        return [f"{where}: {value} is too large"]
    return []
