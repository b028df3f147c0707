"""From a record of the input to the request that is sent.

A record is one JSON object or one line of a table. There are four kinds:

- an OpenAI Batch line: `{"custom_id", "method", "url", "body": {"messages": [...], ...}}`
- messages: `{"messages": [...], ...}`
- a prompt: `{"prompt": "...", ...}`, with an optional `system`
- with a template, any record that has the template's columns

Beside these, the names in `PARAMETERS` are parameters of the request (but not with a template: there every
column is data), `image`, `document`, `audio` and `video` are put into the message (see `media`; not with a
template that names them), and everything else is copied to the output.

Requests to an endpoint that has no messages (embeddings, moderations, ...) have one text instead, in the
field that `_ENDPOINTS` names: it comes from that field, from `prompt`, or from the template.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import orjson

from callgate.batch.input.media import COLUMNS as MEDIA, MediaResolver
from callgate.batch.input.rows import Row, content_key, custom_id_key
from callgate.batch.input.template import Template, is_empty
from callgate.errors import InputError
from callgate.exact_json import dumps

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
_INTEGERS = frozenset(
    {"dimensions", "max_completion_tokens", "max_tokens", "n", "seed", "top_k", "top_logprobs", "top_n"}
)
_NUMBERS = _INTEGERS | {"frequency_penalty", "presence_penalty", "temperature", "top_p"}
_KINDS = {
    bool: "a boolean", dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip
_FLAT = frozenset({str, int, float, bool, type(None)})
# A batch needs whole answers, so a body written for streaming is sent without these.
_STREAMING = ("stream", "stream_options")
_CHAT = "chat/completions"
_URL = re.compile(r"/?(?:v\d+/)?((?:\w[\w.-]*/)*[\w-]+)/?")


class _Endpoint(NamedTuple):
    """An endpoint without messages: the field of its text, and the columns that are further parameters."""

    text: str
    parameters: frozenset[str] = frozenset()


_ENDPOINTS = {
    "completions": _Endpoint("prompt", frozenset({"best_of", "echo", "n", "suffix"})),
    "embeddings": _Endpoint("input", frozenset({"dimensions", "encoding_format", "input_type"})),
    "images/generations": _Endpoint(
        "prompt", frozenset({"background", "n", "output_format", "quality", "size", "style"})
    ),
    "moderations": _Endpoint("input"),
    "rerank": _Endpoint("query", frozenset({"documents", "return_documents", "top_n"})),
}


_Draft = tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None, str | None]
"""What a record becomes: its request, what the record itself brings to it, its columns, its path."""


class RequestBuilder:
    """Makes the rows of one run from the records of its input.

    Args:
        template: The prompt with columns in it; without one, records need a prompt or messages.
        system: A system prompt, with columns in it, for every row that has none of its own.
        model: The model of rows that name none; None: each row names its own.
        parameters: Parameters for every row that does not set them itself.
        needs_model: Whether a row without any model is an error.
        fills_nulls: Whether every object has all fields of a schema, null where it has none, as in Parquet:
            such fields are not sent.
        takes_id: Whether `id` stands for a missing `custom_id`.
        endpoint: The path of the endpoint for rows that name none, such as "embeddings"; None: chat.
        source: The input's name, for errors.
        folder: What the paths of media are relative to, and do not leave.
        allow_files: Further folders whose files may be sent.

    Example::

        builder = RequestBuilder(model="gpt-4o-mini", parameters={"temperature": 0}, source="in.jsonl")
        row = builder.build({"prompt": "How big is the moon?"}, index=0, line=1)
        print(row.request["messages"])
    """

    __slots__ = (
        "_columns_sent", "_endpoint", "_fills_nulls", "_media", "_model", "_needs_model", "_parameters",
        "_source", "_system", "_takes_id", "_template", "_text",
    )  # fmt: skip

    def __init__(
        self,
        *,
        template: Template | None = None,
        system: str | None = None,
        model: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        needs_model: bool = False,
        fills_nulls: bool = False,
        takes_id: bool = True,
        endpoint: str | None = None,
        source: str = "input",
        folder: str = "",
        allow_files: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        self._template = template
        self._system = Template(system, setting="system", needs_column=False) if system else None
        self._model = model
        self._parameters = dict(parameters or {})
        self._needs_model = needs_model and model is None and "model" not in self._parameters
        self._fills_nulls = fills_nulls
        self._takes_id = takes_id
        self._endpoint = None if endpoint is None else _path_of(endpoint)
        self._text, more = _ENDPOINTS.get(self._endpoint or "", _Endpoint("prompt"))
        self._columns_sent = PARAMETERS | more
        self._source = source
        self._media = MediaResolver(folder, source, allow_files)

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
        if custom_id is not None or "id" in record:
            custom_id = self._custom_id(custom_id, record.get("id"), line)
        if self._template is not None:
            request, content, columns, path = self._from_template(self._template, record, line)
        elif "body" in record:
            request, content, columns, path = self._from_batch_line(record, line)
        elif self._endpoint is None and self._has_messages(record):
            request, content, columns, path = self._from_messages(record, line)
        else:
            request, content, columns, path = self._from_prompt(record, line)
        if self._fills_nulls:
            request = _without_nulls(request)
        if "messages" in request:
            if not MEDIA.keys().isdisjoint(record):
                request, content = self._with_media(request, content, record, line)
            if "messages" in content:
                request = self._media.find_files(request, line)
        if self._model is not None:
            if not request.get("model"):
                request["model"] = self._model
        elif self._needs_model and not request.get("model"):
            self._refuse(line, "the row names no model, and -m names only a provider; use -m PROVIDER/MODEL")
        said = content if columns is None else _all_said(content, columns)
        if _is_too_deep(said):
            self._refuse(line, "is nested too deeply to be written down again")
        key = custom_id_key(custom_id) if custom_id else content_key(said)
        return Row(index, line, custom_id, key, request, columns, path)

    def check_columns(self, names: Iterable[str], line: int = 1) -> None:
        """Refuse a table whose header lacks what is needed, before its first row is read.

        Raises:
            InputError: naming the column, the one that looks like it, and those that are there.
        """
        known = list(names)
        if self._template is not None:
            for name in self._template.columns:
                if name not in known:
                    self._no_column(name, known, line)
        elif not {"prompt", "messages", "body", self._text}.intersection(known):
            self._no_column("prompt", known, line)
        for name in () if self._system is None else self._system.columns:
            if name not in known:
                self._no_column(name, known, line, "system prompt")

    # -- the four kinds ----------------------------------------------------------------------------------

    def _from_template(self, template: Template, record: dict[str, Any], line: int) -> _Draft:
        prompt = self._rendered(template, record, line, "template")
        system = self._system_prompt(record, line)
        names = template.columns if self._system is None else (*template.columns, *self._system.columns)
        # What the row itself brings to the prompt; a reworded template does not make it another row.
        content = {name: record[name] for name in names}
        request = self._with_text(dict(self._parameters), prompt, system, line)
        return request, content, _without(record, "custom_id"), self._endpoint

    def _from_batch_line(self, record: dict[str, Any], line: int) -> _Draft:
        body = record["body"]
        if not isinstance(body, dict):
            self._refuse(line, f"body must be a JSON object, not {_kind(body)}")
        method, url = record.get("method"), record.get("url")
        if method is not None and (type(method) is not str or method.upper() != "POST"):
            self._refuse(line, f"method must be POST, not {method!r}")
        path = self._endpoint
        if url is not None:
            match = _URL.fullmatch(url) if type(url) is str else None
            if match is None:
                self._refuse(line, f"url must be a path such as /v1/chat/completions, not {url!r}")
            path = _path_of(match[1])
        content = {
            name: None if is_empty(value) else value for name, value in body.items() if name not in _STREAMING
        }
        request = {**self._parameters, **content}
        if "messages" in body:
            request["messages"] = self._checked(content["messages"], record, line)
        elif path is None:
            self._refuse(line, "the body has no messages")
        columns = {name: value for name, value in record.items() if name not in _ENVELOPE}
        return request, content, columns or None, path

    def _from_messages(self, record: dict[str, Any], line: int) -> _Draft:
        request, columns, content = dict(self._parameters), {}, {}
        for name, value in record.items():
            if name in PARAMETERS:
                content[name] = value = self._parameter(name, value, line)
                if not is_empty(value):
                    request[name] = value
            elif name == "messages":
                content[name] = value
            elif name != "custom_id" and name not in _STREAMING:
                columns[name] = value
        request["messages"] = self._checked(record["messages"], record, line)
        return request, content, columns or None, None

    def _from_prompt(self, record: dict[str, Any], line: int) -> _Draft:
        name = self._text if self._text in record else "prompt"
        parameters = self._columns_sent
        prompt, system = record.get(name), record.get("system")
        if name not in record:
            self._no_column(name, list(record), line)
        if type(prompt) is not str or not prompt.strip():
            self._check_text(name, prompt, line)
        content: dict[str, Any] = {name: prompt}
        if not is_empty(system) and system != "":
            if type(system) is not str:
                self._refuse(line, f"system must be a text, not {_kind(system)}")
            content["system"] = system
        else:
            system = None if self._system is None else self._system_prompt(record, line)
        request, columns = dict(self._parameters), {}
        for name, value in record.items():
            if name in parameters:
                value = self._parameter(name, value, line)
                if not is_empty(value):
                    request[name] = content[name] = value
            elif name != "custom_id" and not (name == "messages" and is_empty(value)):
                columns[name] = value
        return self._with_text(request, prompt, system, line), content, columns, self._endpoint

    def _has_messages(self, record: dict[str, Any]) -> bool:
        """Whether a row is of messages: in a table of both kinds, a row of a prompt has empty ones."""
        return "messages" in record and not (is_empty(record["messages"]) and "prompt" in record)

    # -- parts -------------------------------------------------------------------------------------------

    def _custom_id(self, given: Any, other: Any, line: int) -> str | None:
        """The row's id, as text: its `custom_id`, else its `id`."""
        if is_empty(given) or given == "":
            if not self._takes_id or type(other) not in (str, int):
                return None
            given = other
        if type(given) is int or (type(given) is float and given.is_integer()):
            return str(int(given))
        if type(given) is not str:
            self._refuse(line, f"custom_id must be a text, not {_kind(given)}")
        return given or None

    def _with_text(self, request: dict[str, Any], text: Any, system: str | None, line: int) -> dict[str, Any]:
        """The request with its text, as a message or in the field of its endpoint."""
        if self._endpoint is None:
            user = {"role": "user", "content": text}
            request["messages"] = [{"role": "system", "content": system}, user] if system else [user]
            return request
        if self._endpoint not in _ENDPOINTS:
            self._refuse(line, f"a row for /{self._endpoint} needs a body: its whole request")
        if system:
            self._refuse(line, f"a request to /{self._endpoint} has no system prompt")
        request[self._text] = text
        return request

    def _with_media(
        self, request: dict[str, Any], content: dict[str, Any], record: dict[str, Any], line: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """With the row's media, which belong to its request. A batch line has all of that in its body."""
        if "body" in record and self._template is None:
            return request, content
        named = () if self._template is None else self._template.columns
        media = {
            name: record[name]
            for name in MEDIA
            if name not in named and not is_empty(value := record.get(name)) and value
        }
        return self._media.add_media(request, media, line), {**content, **media}

    def _checked(self, messages: Any, record: dict[str, Any], line: int) -> list[Any]:
        if not isinstance(messages, list) or not messages:
            self._refuse(line, "messages must be a list with at least one message")
        for message in messages:
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                self._refuse(line, "each message must be an object with a role and a content")
        if self._system is not None and messages[0]["role"] not in ("system", "developer"):
            return [{"role": "system", "content": self._system_prompt(record, line)}, *messages]
        return messages

    def _system_prompt(self, record: dict[str, Any], line: int) -> str | None:
        return None if self._system is None else self._rendered(self._system, record, line, "system prompt")

    def _rendered(self, template: Template, record: dict[str, Any], line: int, kind: str) -> str:
        try:
            return template.render(record)
        except KeyError as missing:
            self._no_column(missing.args[0], list(record), line, kind)

    def _check_text(self, name: str, value: Any, line: int) -> None:
        """Refuse a text that is empty or none. Endpoints without messages also take a list of texts."""
        if isinstance(value, list) and value and self._endpoint is not None:
            return
        if (is_empty(value) and value is not None) or isinstance(value, str):
            self._refuse(line, f"the {name} is empty")
        self._refuse(line, f"the {name} must be a text, not {_kind(value)}")

    def _parameter(self, name: str, value: Any, line: int) -> Any:
        """A parameter of a table: a number may be a text, an empty cell sets nothing.

        In a column with empty cells, pandas keeps integers as floats.
        """
        if type(value) is str:
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
            value = number
        return int(value) if name in _INTEGERS and type(value) is float and value.is_integer() else value

    def _no_column(self, name: str, known: list[str], line: int, kind: str = "template") -> NoReturn:
        near = difflib.get_close_matches(name, known, n=1)
        there = f"it has {', '.join(known)}" if known else "it has no columns"
        hint = f"; did you mean {near[0]}?" if near else ""
        if kind == "template" and self._template is None:
            # Only a misspelling of it: a template is what other columns need.
            misspelt = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            hint = (
                f"; rename {misspelt[0]} to {name}, or" if misspelt else "; give it a prompt or messages, or"
            )
            hint += " make the prompt from its columns with a template"
            self._refuse(line, f"the row has no {name} ({there}){hint}")
        hint += "" if near else "; to have the braces themselves, write {{ and }}"
        self._refuse(line, f"the {kind} wants {{{name}}}, which the row does not have ({there}){hint}")

    def _refuse(self, line: int, what: str) -> NoReturn:
        raise InputError(what, source=self._source, line=line)


def _path_of(endpoint: str) -> str | None:
    """The path of an endpoint below the base URL; None: chat, whose path each provider has itself."""
    path = endpoint.strip("/").removeprefix("v1/")
    return None if path == _CHAT or path.endswith("/" + _CHAT) else path


def _without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


def _without_nulls(value: Any) -> Any:
    """Without the fields that are null, except the `content` of a message: null is a value there."""
    if isinstance(value, dict):
        return {
            name: _without_nulls(each)
            for name, each in value.items()
            if each is not None or (name == "content" and "role" in value)
        }
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _is_too_deep(said: dict[str, Any]) -> bool:
    """Whether no line could hold it, which would only be found when its row has been called for."""
    for value in said.values():
        if type(value) not in _FLAT:
            break
    else:
        return False
    try:
        dumps(said, default=str)
    except TypeError as error:
        return "ecursion" in str(error)
    return False


def _all_said(content: dict[str, Any], columns: dict[str, Any]) -> dict[str, Any]:
    """The content and the columns beside it: equal requests about different things are different rows.

    Were they the same row, counted twice, the next run would take the answer to the second for the first's.
    """
    if columns.keys() <= content.keys():
        return content
    more = {name: columns[name] for name in columns.keys() - content.keys() if not _is_nothing(columns[name])}
    return more | content if more else content


def _is_nothing(value: Any) -> bool:
    return is_empty(value) or (type(value) in (str, list) and not value)


def _kind(value: Any) -> str:
    return next((name for kind, name in _KINDS.items() if isinstance(value, kind)), "a value")
