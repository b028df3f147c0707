"""From a record of the input to the request that is sent.

A record is one JSON object or one line of a table. There are four kinds:

- an OpenAI Batch line: `{"custom_id", "method", "url", "body": {"messages": [...], ...}}`
- messages: `{"messages": [...], ...}`
- a prompt: `{"prompt": "...", ...}`, with an optional `system`
- with a template, any record that has the template's columns

Beside these, the names in `PARAMETERS` are parameters of the request (but not with a template: there every
column is data), `image` and `images` are put into the message (see `images`; not with a template that names
them), and everything else travels along to the output.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import orjson

from callgate.batch.input.images import COLUMNS as IMAGES, ImageResolver
from callgate.batch.input.rows import Row, content_key, custom_id_key
from callgate.batch.input.template import Template
from callgate.errors import InputError

__all__ = ["PARAMETERS", "RequestBuilder"]

PARAMETERS = frozenset(
    {
        "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "model",
        "parallel_tool_calls", "presence_penalty", "reasoning_effort", "response_format", "seed", "stop",
        "temperature", "tool_choice", "tools", "top_k", "top_logprobs", "top_p",
    }
)  # fmt: skip
"""Columns of a row that are parameters of its request."""

_ENVELOPE = frozenset({"custom_id", "method", "url", "body"})
_NUMBERS = frozenset(
    {"frequency_penalty", "max_completion_tokens", "max_tokens", "presence_penalty", "seed", "temperature",
     "top_k", "top_logprobs", "top_p"}
)  # fmt: skip
_KINDS = {
    dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean",
    type(None): "null",
}  # fmt: skip
_FLAT = frozenset({str, int, float, bool, type(None)})
# A batch wants whole answers, so a body written for streaming is asked for in one piece.
_STREAMING = ("stream", "stream_options")


class RequestBuilder:
    """Makes the rows of one run from the records of its input.

    Args:
        template: The prompt with columns in it; without one, records must say what they ask.
        system: A system prompt for every row that has none of its own.
        model: The model of every row; it wins over a row's own. None: each row names its own.
        parameters: Parameters for every row that does not set them itself.
        needs_model: Whether a row without any model is an error.
        table: Whether the values of numeric parameters are texts, as in CSV.
        source: The input's name, for errors.
        folder: What the paths of images are relative to.

    Example::

        builder = RequestBuilder(model="gpt-4o-mini", parameters={"temperature": 0}, source="in.jsonl")
        row = builder.build({"prompt": "How big is the moon?"}, index=0, line=1)
        print(row.request["messages"])
    """

    __slots__ = (
        "_images", "_model", "_needs_model", "_parameters", "_source", "_system", "_table", "_template",
    )  # fmt: skip

    def __init__(
        self,
        *,
        template: Template | None = None,
        system: str | None = None,
        model: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        needs_model: bool = False,
        table: bool = False,
        source: str = "input",
        folder: str = "",
    ) -> None:
        self._template = template
        self._system = system
        self._model = model
        self._parameters = dict(parameters or {})
        self._needs_model = needs_model and model is None and "model" not in self._parameters
        self._table = table
        self._source = source
        self._images = ImageResolver(folder, source)

    def build(self, record: Any, index: int, line: int) -> Row:
        """The row that a record stands for.

        Args:
            record: The parsed record.
            index: Its place among the rows, from 0.
            line: Its line in the input, from 1.

        Raises:
            InputError: naming the input and the line, when the record cannot be used.
        """
        if not isinstance(record, dict):
            self._refuse(line, f"is no JSON object but {_kind(record)}")
        custom_id = record.get("custom_id")
        if custom_id is not None and type(custom_id) is not str:
            if type(custom_id) is not int:
                self._refuse(line, f"custom_id must be a text, not {_kind(custom_id)}")
            custom_id = str(custom_id)
        columns: dict[str, Any] | None
        if self._template is not None:
            request, content, columns = self._from_template(record, line)
        elif "body" in record:
            request, content, columns = self._from_batch_line(record, line)
        elif "messages" in record:
            request, content, columns = self._from_messages(record, line)
        else:
            request, content, columns = self._from_prompt(record, line)
        if "image" in record or "images" in record:
            request, content = self._with_images(request, content, record, line)
        if "messages" in content:
            request = self._images.find_files(request, line)
        if self._model is not None:
            request["model"] = self._model
        elif self._needs_model and not request.get("model"):
            self._refuse(line, "the row names no model, and -m names only a provider; use -m PROVIDER/MODEL")
        if _is_too_deep(content) or (columns is not None and _is_too_deep(columns)):
            self._refuse(line, "is nested too deeply to be written down again")
        key = custom_id_key(custom_id) if custom_id else content_key(_all_said(content, columns))
        return Row(index, line, custom_id or None, key, request, columns)

    def check_columns(self, names: Iterable[str], line: int = 1) -> None:
        """Refuse a table whose header lacks what is needed, before its first row is read.

        Raises:
            InputError: naming the column, the one that looks like it, and those that are there.
        """
        known = list(names)
        for name in ("prompt",) if self._template is None else self._template.columns:
            if name not in known:
                self._no_column(name, known, line)

    # -- the four kinds ----------------------------------------------------------------------------------

    def _from_template(self, record: dict[str, Any], line: int) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        template = self._template
        assert template is not None
        try:
            prompt = template.render(record)
        except KeyError as missing:
            self._no_column(missing.args[0], list(record), line)
        request = {**self._parameters, "messages": self._messages(prompt, self._system)}
        # What the row itself brings to the prompt; a reworded template asks for no second answer.
        content = {name: record[name] for name in template.columns}
        return request, content, _without(record, "custom_id")

    def _from_batch_line(
        self, record: dict[str, Any], line: int
    ) -> tuple[dict[str, Any], Any, dict[str, Any] | None]:
        body = record["body"]
        if not isinstance(body, dict):
            self._refuse(line, f"body must be a JSON object, not {_kind(body)}")
        method, url = record.get("method", "POST"), record.get("url")
        if type(method) is not str or method.upper() != "POST":
            self._refuse(line, f"method must be POST, not {method!r}")
        if url is not None and (type(url) is not str or not url.rstrip("/").endswith("/chat/completions")):
            self._refuse(
                line, f"url must be /v1/chat/completions, not {url!r}; other endpoints cannot be run"
            )
        if "messages" not in body:
            self._refuse(line, "the body has no messages")
        content = {name: value for name, value in body.items() if name not in _STREAMING}
        request = {**self._parameters, **content}
        request["messages"] = self._checked(content["messages"], line)
        columns = {name: value for name, value in record.items() if name not in _ENVELOPE}
        return request, content, columns or None

    def _from_messages(
        self, record: dict[str, Any], line: int
    ) -> tuple[dict[str, Any], Any, dict[str, Any] | None]:
        request, columns = dict(self._parameters), {}
        content = {}
        for name, value in record.items():
            if name == "messages" or name in PARAMETERS:
                content[name] = value
            elif name != "custom_id" and name not in _STREAMING:
                columns[name] = value
        request.update(content)
        request["messages"] = self._checked(record["messages"], line)
        return request, content, columns or None

    def _from_prompt(self, record: dict[str, Any], line: int) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        prompt, system = record.get("prompt"), record.get("system")
        if prompt is None and "prompt" not in record:
            self._no_column("prompt", list(record), line)
        if type(prompt) is not str or not prompt.strip():
            empty = isinstance(prompt, str)
            self._refuse(
                line, "the prompt is empty" if empty else f"the prompt must be a text, not {_kind(prompt)}"
            )
        if system is not None and type(system) is not str:
            self._refuse(line, f"system must be a text, not {_kind(system)}")
        content: dict[str, Any] = {"prompt": prompt}
        if system:
            content["system"] = system
        request = dict(self._parameters)
        request.pop("system", None)
        columns = {}
        for name, value in record.items():
            if name in PARAMETERS:
                value = self._number(name, value, line) if self._table and type(value) is str else value
                if value is not None:
                    request[name] = content[name] = value
            elif name != "custom_id":
                columns[name] = value
        request["messages"] = self._messages(prompt, system or self._system)
        return request, content, columns

    def _with_images(
        self, request: dict[str, Any], content: dict[str, Any], record: dict[str, Any], line: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """With the row's images, which are part of what it asks. A batch line has all it asks in its body."""
        if "body" in record and self._template is None:
            return request, content
        named = () if self._template is None else self._template.columns
        pictures = {name: record[name] for name in IMAGES if record.get(name) and name not in named}
        return self._images.add_images(request, pictures, line), {**content, **pictures}

    # -- parts -------------------------------------------------------------------------------------------

    def _messages(self, prompt: str, system: str | None) -> list[dict[str, Any]]:
        user = {"role": "user", "content": prompt}
        return [{"role": "system", "content": system}, user] if system else [user]

    def _checked(self, messages: Any, line: int) -> list[Any]:
        if not isinstance(messages, list) or not messages:
            self._refuse(line, "messages must be a list with at least one message")
        for message in messages:
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                self._refuse(line, "each message must be an object with a role and a content")
        if self._system and messages[0]["role"] not in ("system", "developer"):
            return [{"role": "system", "content": self._system}, *messages]
        return messages

    def _number(self, name: str, value: str, line: int) -> Any:
        """A parameter as a table holds it; an empty cell sets nothing."""
        if not value.strip():
            return None
        if name not in _NUMBERS:
            return value
        try:
            number = orjson.loads(value)
        except orjson.JSONDecodeError:
            number = None
        if type(number) not in (int, float):
            self._refuse(line, f"{name} must be a number, not {value!r}")
        return number

    def _no_column(self, name: str, known: list[str], line: int) -> NoReturn:
        near = difflib.get_close_matches(name, known, n=1)
        there = f"it has {', '.join(known)}" if known else "it has no columns"
        hint = f"; did you mean {near[0]}?" if near else ""
        if self._template is None:
            hint += "; give it a prompt or messages, or use --template"
            self._refuse(line, f"the row has no prompt ({there}){hint}")
        self._refuse(line, f"the template wants {{{name}}}, which the row does not have ({there}){hint}")

    def _refuse(self, line: int, what: str) -> NoReturn:
        raise InputError(what, source=self._source, line=line)


def _without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


def _is_too_deep(said: dict[str, Any]) -> bool:
    """Whether no line could hold it, which would show when its row has been called for."""
    for value in said.values():
        if type(value) not in _FLAT:
            break
    else:
        return False
    try:
        orjson.dumps(said, default=str)
    except TypeError as error:  # of numbers of more than 64 bits too, which can be written in another way
        return "ecursion" in str(error)
    return False


def _all_said(content: dict[str, Any], columns: dict[str, Any] | None) -> dict[str, Any]:
    """What a row asks and what travels along: equal questions about different things are different rows.

    Were they one, counted twice, the next run would take an answer to the second for that to the first.
    """
    if columns is None:
        return content
    more = {name: columns[name] for name in columns.keys() - content.keys() if not _is_empty(columns[name])}
    return more | content if more else content


def _is_empty(value: Any) -> bool:
    return value is None or (type(value) in (str, list) and not value)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return names.get(
        type(value), "null" if value is None else "a boolean" if type(value) is bool else "a value"
    )
