"""The canonical request as a command line of Claude Code: arguments, stdin, and two variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.anthropic.content import content_blocks
from callgate.providers.canonical.conversation import fold_conversation
from callgate.providers.canonical.fields import read_service_tier, refuse_media_output
from callgate.providers.canonical.json import write_json
from callgate.providers.canonical.messages import (
    MEANT_FOR_OPENAI,
    read_max_tokens,
    read_messages,
    refuse,
    refuse_several_answers,
    refuse_system_media,
)
from callgate.providers.canonical.tools import read_answer_format
from callgate.transport.subprocess import CommandRequest

__all__ = ["FIXED_VARIABLES", "INHERITED_VARIABLES", "write_command"]

INHERITED_VARIABLES = (
    "HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
    "XDG_CONFIG_HOME", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CONFIG_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
"""All that the command gets of this process's environment: it runs programs for the model."""
FIXED_VARIABLES: Mapping[str, str] = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    # By default it retries ten times, hidden from the limits here, and with a wrong key too. Some retries
    # are needed: a run of many turns that ends at one refusal would be paid again from its beginning.
    "CLAUDE_CODE_MAX_RETRIES": "3",
}

_HINT = "Install it with `npm install -g @anthropic-ai/claude-code`, or add it to PATH."
_LEAST_THINKING = 1024
_EFFORTS = ("low", "medium", "high", "xhigh", "max")

# A request may set these. Everything that lets the command touch more of this machine (tools, permissions,
# settings, plugins) is set where the endpoint is made, for requests may come from a file.
_FLAGS = {
    "session_id": "--resume",
    "append_system_prompt": "--append-system-prompt",
    "max_turns": "--max-turns",
    "max_budget_usd": "--max-budget-usd",
    "fallback_model": "--fallback-model",
}
_TRANSLATED = frozenset(
    {
        "model", "messages", "prompt", "system", "max_tokens", "max_completion_tokens", "response_format",
        "reasoning_effort", "stream", "tools", "n", "fork_session", "service_tier", "base_model",
    }
)  # fmt: skip
_MISSING = MEANT_FOR_OPENAI | {
    "temperature", "top_p", "top_k", "seed", "stop", "tool_choice", "parallel_tool_calls", "user", "metadata",
    "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "cache_control", "audio",
}  # fmt: skip
"""Fields for which the command has no argument."""
_TIERS: Mapping[str, str | None] = dict.fromkeys(("auto", "default", "standard", "standard_only"))


def write_command(
    request: Mapping[str, Any], *, stream: bool, command: str, arguments: tuple[str, ...]
) -> CommandRequest:
    """The command for one call; its `env` holds only what the request itself asks for.

    Raises:
        InvalidRequestError: The command has no argument for something in the request.
    """
    _refuse_unsupported(request)
    argv = [command, "-p", "--output-format=stream-json", "--verbose"]
    if stream:
        argv.append("--include-partial-messages")
    if request.get("model"):
        argv.append(f"--model={request['model']}")
    system, blocks = _conversation(request)
    if system:
        argv.append(f"--system-prompt={system}")
    for name, flag in _FLAGS.items():
        if request.get(name) is not None:
            # One argument, not two: a value can then never be read as another flag.
            argv.append(f"{flag}={request[name]}")
    if request.get("fork_session"):
        argv.append("--fork-session")
    effort = request.get("reasoning_effort")
    if effort not in (None, "none"):
        argv.append(f"--effort={'low' if effort == 'minimal' else effort}")
    wanted = read_answer_format(request.get("response_format"))
    if wanted is not None:
        argv.append(f"--json-schema={write_json(wanted.schema or {'type': 'object'}).decode()}")
    env: dict[str, str] = {}
    max_tokens = read_max_tokens(request)
    if max_tokens is not None:
        env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = str(max_tokens)
        if max_tokens <= _LEAST_THINKING or effort == "none":
            env["MAX_THINKING_TOKENS"] = "0"  # there is no room for the least that it would think
    elif effort == "none":
        env["MAX_THINKING_TOKENS"] = "0"
    if all(block["type"] == "text" for block in blocks):
        stdin = "\n\n".join(block["text"] for block in blocks).encode("utf-8", "replace")
    else:
        argv.append("--input-format=stream-json")
        stdin = write_json({"type": "user", "message": {"role": "user", "content": blocks}}) + b"\n"
    return CommandRequest((*argv, *arguments), stdin, env, hint=_HINT)


def _refuse_unsupported(request: Mapping[str, Any]) -> None:
    if request.get("tools"):
        raise refuse("Claude Code has tools of its own and takes none of yours; leave tools out")
    refuse_several_answers(request)
    refuse_media_output(request, "Claude Code")
    read_service_tier(request, _TIERS, "Claude Code")
    effort = request.get("reasoning_effort")
    if effort not in (None, "none", "minimal", *_EFFORTS):
        raise refuse(f"unknown reasoning_effort {effort!r}; use none, minimal, {', '.join(_EFFORTS)}")
    unknown = [
        name
        for name, value in request.items()
        if value is not None and name not in _TRANSLATED and name not in _MISSING and name not in _FLAGS
    ]
    if unknown:
        raise refuse(
            f"Claude Code takes no {', '.join(sorted(unknown))} in a request; it takes"
            f" {', '.join((*_FLAGS, 'fork_session'))}. Other arguments belong to the endpoint: args=[...]"
        )


def _conversation(request: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """The system prompt, and the blocks for stdin.

    The command keeps its conversations: with a session it gets only the new messages. Without one, an earlier
    conversation is written down, each turn under its speaker.
    """
    if request.get("session_id"):
        request = {**request, "messages": _since_the_last_answer(request)}

    def assistant(message: Mapping[str, Any]) -> list[dict[str, Any]]:
        if message.get("tool_calls"):
            raise refuse("Claude Code cannot go on with calls of tools that are not its own")
        return content_blocks(message)

    system, turns = fold_conversation(
        request, system=content_blocks, user=content_blocks, assistant=assistant, tool=_no_results
    )
    if any(block["type"] != "text" for block in system):
        raise refuse_system_media()
    written: list[dict[str, Any]] = []
    for speaker, blocks in turns:
        if len(turns) > 1:
            written.append({"type": "text", "text": f"[{speaker}]"})
        written += blocks
    return "\n\n".join(block["text"] for block in system), written


def _no_results(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    raise refuse("Claude Code calls its own tools and takes no results of others")


def _since_the_last_answer(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = read_messages(request)
    last = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    if last == len(messages) - 1:
        raise refuse("there is nothing new for the session: the last message is the assistant's")
    system = [message for message in messages[: max(last, 0)] if message["role"] in ("system", "developer")]
    return [*system, *messages[last + 1 :]]
