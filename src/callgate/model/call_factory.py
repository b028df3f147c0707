"""Creates callings from the keywords of `iModel.invoke`: facts, times and the request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from callgate.backends.service import ServiceBackend
from callgate.call.attempt import Pricer
from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.policies.structured.layer import AnswerType, answer_format
from callgate.schema.answer import AnswerSchema, to_answer_schema

__all__ = ["CallFactory", "set_times"]

# Keywords of `invoke` besides the times and the request itself.
_FACTS = (
    "request_payload",
    "num_api_tokens_needed",
    "http_path",
    "http_method",
    "sdk_method_name",
    "metadata",
    "response_model",
    "response_schema",
)


class CallFactory:
    """Creates the callings of one model.

    Args:
        backend: What answers them.
        defaults: Part of every request unless the request has the same field.
        pricer: Returns the cost of their responses in US dollars.
    """

    __slots__ = ("_backend", "_defaults", "_pricer")

    def __init__(self, backend: ServiceBackend, defaults: dict[str, Any], pricer: Pricer) -> None:
        self._backend = backend
        self._defaults = defaults
        self._pricer = pricer

    def make(
        self,
        request: dict[str, Any],
        request_payload: Mapping[str, Any] | None = None,
        num_api_tokens_needed: float = 0,
        http_path: str | None = None,
        http_method: str | None = None,
        sdk_method_name: str | None = None,
        metadata: dict[str, Any] | None = None,
        response_model: type[BaseModel] | None = None,
        response_schema: Mapping[str, Any] | AnswerSchema | None = None,
    ) -> Calling:
        """A calling, within a running loop; the arguments are those of `iModel.invoke`.

        Raises:
            ConfigurationError: (a ValueError) when `response_model` or `response_schema` cannot be asked for.
        """
        if request_payload is not None:
            request = {**request_payload, **request}
        headers = None
        if "extra_headers" in request and isinstance(request["extra_headers"], Mapping):
            request = dict(request)
            headers = request.pop("extra_headers")
        calling = Calling(
            {**self._defaults, **request} if self._defaults else request,
            backend=self._backend,
            method=None if http_method is None else http_method.upper(),
            headers=headers,
            num_api_tokens_needed=num_api_tokens_needed,
            metadata=metadata,
            http_path=http_path,
            sdk_method_name=sdk_method_name,
            now=asyncio.get_running_loop().time(),
        )
        calling.request = request
        calling.pricer = self._pricer
        if response_model is not None or response_schema is not None:
            calling.answer_type, form = _answer_type(response_model, response_schema)
            asked = {"response_format": form}
            calling.payload = {**asked, **calling.payload}
            calling.request = {**asked, **request}
        return calling

    def from_keywords(self, keywords: Mapping[str, Any]) -> Calling:
        """A calling from the keywords of `iModel.invoke` as one mapping, its times set.

        Raises:
            ConfigurationError: (a ValueError) when there is one already among them, or as `make` and
                `set_times` do.
        """
        if "calling" in keywords:
            raise ConfigurationError("calling= is for invoke(); this makes a calling of its own")
        request = dict(keywords)
        timeout, poll_timeout = request.pop("timeout", None), request.pop("poll_timeout", None)
        request.pop("poll_interval", None)
        facts = {fact: request.pop(fact) for fact in _FACTS if fact in request}
        calling = self.make(request, **facts)
        set_times(calling, timeout, poll_timeout)
        return calling

    @property
    def model(self) -> str | None:
        """The model that calls ask for unless they name another; None: each call names its own."""
        return self._defaults.get("model")

    def turn(self, calling: Calling, *, keeps_model: bool) -> None:
        """Turn a calling to this model: its own backend, defaults and prices.

        Args:
            calling: The calling.
            keeps_model: True: a model that the call names holds here too; False: this one's own name wins.
        """
        if calling.backend is self._backend and calling.pricer is self._pricer:
            return
        request = dict(calling.request)
        if not keeps_model and "model" in self._defaults:
            request.pop("model", None)
        calling.payload = {**self._defaults, **request}
        calling.backend = self._backend
        calling.pricer = self._pricer


def _answer_type(
    model: type[BaseModel] | None, schema: Mapping[str, Any] | AnswerSchema | None
) -> tuple[AnswerType, Mapping[str, Any]]:
    """What the response must match, and the `response_format` that requests it."""
    if schema is None:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise ConfigurationError(
                f"response_model must be a pydantic model class, got {model!r}; give a JSON schema as"
                " response_schema=",
                setting="response_model",
            )
        return model, answer_format(model)
    if model is not None:
        raise ConfigurationError("give response_model or response_schema, not both")
    compiled = to_answer_schema(schema)
    return compiled, compiled.format


def set_times(calling: Calling, timeout: float | None, poll_timeout: float | None) -> None:
    """Bound one attempt by `timeout`, and the whole call from now on by `poll_timeout`, both in seconds.

    Raises:
        ConfigurationError: (a ValueError) when one of them is no number from 0.
    """
    if timeout is not None:
        _check_seconds("timeout", timeout)
        calling.timeout = timeout
    if poll_timeout is not None:
        _check_seconds("poll_timeout", poll_timeout)
        calling.deadline = asyncio.get_running_loop().time() + poll_timeout


def _check_seconds(name: str, seconds: Any) -> None:
    # A NaN would never come due, and would block the entries behind it in the timer's heap.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0.0:
        raise ConfigurationError(f"{name}= is a number of seconds from 0, not {seconds!r}")
