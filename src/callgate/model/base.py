"""`Caller`: the calls that a model offers: invoke, ask, submit, stream, tool loops, sync twins.

It creates callings, sends them through the pipeline that its subclass builds, and returns them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel
from typing_extensions import TypeVar

from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.model.call_factory import set_times
from callgate.model.lifetime import Lifetime
from callgate.model.streams import StreamChannel, read_stream
from callgate.model.sync import SyncTwins, stream_twin, sync_twin, takes_parameters_of
from callgate.model.target import ModelTarget
from callgate.model.tools import ToolRun, run_tools
from callgate.pipeline import UserLayer
from callgate.policies.cache.layer import Place, is_known
from callgate.policies.hedge.policy import HedgePolicy
from callgate.policies.limit.view import LimiterView
from callgate.policies.observe.hooks import HookPhase
from callgate.response import Response, StreamChunk
from callgate.schema.answer import AnswerSchema

__all__ = ["Caller", "check_models"]

Answer = TypeVar("Answer", bound=BaseModel, default=Any)
"""The `response_model` of a call, which types `response.parsed`."""
_HOW = 'invoke(messages=[{"role": "user", "content": "Hello!"}]), or invoke(prompt=...)'


def check_models(models: Any, setting: str) -> tuple[Caller, ...]:
    """The models of a sequence.

    Raises:
        ConfigurationError: it is no sequence of models.
    """
    if not isinstance(models, Sequence) or not all(isinstance(model, Caller) for model in models):
        raise ConfigurationError(
            f'{setting} must be a list of models, such as [iModel("openai/gpt-4o-mini")], got'
            f" {type(models).__name__}",
            setting=setting,
        )
    return tuple(models)


class Caller(Lifetime, SyncTwins):
    """Calls, streams, tool loops and their sync twins, for `iModel` and whatever takes its place."""

    @abstractmethod
    def targets(self) -> list[ModelTarget]:
        """Its endpoints, for a pipeline that is to send calls to them; fallbacks are not included."""

    @abstractmethod
    def all_targets(self) -> list[ModelTarget]:
        """Every endpoint that may ever answer one of its calls, fallbacks included."""

    @abstractmethod
    def _places(self, calling: Calling) -> Sequence[Place]:
        """Where the response to a call may be stored; empty: nowhere."""

    async def is_cached(self, calling: Calling) -> bool:
        """True if a calling made by this model would be answered without sending anything."""
        return await is_known(self._places(calling))

    @property
    @abstractmethod
    def limiter(self) -> LimiterView:
        """Where it stands with its quota."""

    @property
    @abstractmethod
    def hedging(self) -> HedgePolicy | None:
        """When a slow attempt gets a second one beside it; None: never."""

    @property
    @abstractmethod
    def most_attempts(self) -> int:
        """How often one request is sent at most, fallbacks included and attempts answered with a 429
        excluded.

        A response that does not fit its schema is requested again, as often as this each time.
        """

    # -- calls -------------------------------------------------------------------------------------------

    async def invoke(
        self,
        calling: Calling[Answer] | None = None,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        prompt: str | Sequence[Any] | None = None,
        system: str | Sequence[Mapping[str, Any]] | None = None,
        tools: Sequence[Any] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        reasoning_effort: str | None = None,
        response_model: type[Answer] | None = None,
        response_schema: Mapping[str, Any] | AnswerSchema | None = None,
        timeout: float | None = None,
        poll_timeout: float | None = None,
        poll_interval: float | None = None,
        request_payload: Mapping[str, Any] | None = None,
        num_api_tokens_needed: float = 0,
        http_path: str | None = None,
        http_method: str | None = None,
        sdk_method_name: str | None = None,
        metadata: dict[str, Any] | None = None,
        **request: Any,
    ) -> Calling[Answer]:
        """Make one call and return when it has ended, well or not.

        Args:
            calling: One made before by `create_calling`; everything but the timeouts is then its own.
            messages: The conversation, in the format of OpenAI's chat API for every provider.
            prompt, system: In the place of `messages`: the user's text, and a system prompt before it.
            tools, tool_choice: Tools that the model may call; "auto", "none", "required" or one of them.
            temperature, top_p, max_tokens, stop, seed, reasoning_effort: Parameters of the request; None: as
                the model was made.
            response_model: A pydantic model the answer must satisfy; it is the type of
                `calling.response.parsed`.
            response_schema: A JSON schema instead of a model; `parsed` is then plain JSON data.
            timeout: Seconds that one attempt may take.
            poll_timeout: Seconds the whole call may take, queueing and retries included.
            poll_interval: Accepted and without effect: nothing polls.
            request_payload: The request as one mapping; keywords win over it.
            num_api_tokens_needed: Tokens to reserve, instead of an estimate.
            http_path, http_method, sdk_method_name: Instead of the endpoint's own.
            metadata: Kept on the calling.
            request: Further parameters of the request (`top_k`, `logprobs`, `extra_body`, ...), or the
                arguments of a tool.

        Returns:
            The calling. It is not raised for a failed call: look at `calling.error`, or read
            `calling.response`, which raises it.

        Raises:
            ConfigurationError: (a ValueError) for a time, model or schema that cannot work.
            RuntimeError: when the model is closed, or its executor is not running.
            TypeError: when `calling` is something else.
        """
        # One by one: a loop over the names would cost more than all else that is done here.
        if messages is not None:
            request["messages"] = messages
        if prompt is not None:
            request["prompt"] = prompt
        if system is not None:
            request["system"] = system
        if tools is not None:
            request["tools"] = tools
        if tool_choice is not None:
            request["tool_choice"] = tool_choice
        if temperature is not None:
            request["temperature"] = temperature
        if top_p is not None:
            request["top_p"] = top_p
        if max_tokens is not None:
            request["max_tokens"] = max_tokens
        if stop is not None:
            request["stop"] = stop
        if seed is not None:
            request["seed"] = seed
        if reasoning_effort is not None:
            request["reasoning_effort"] = reasoning_effort
        if calling is None:
            calling = self._maker.make(
                request,
                request_payload,
                num_api_tokens_needed,
                http_path,
                http_method,
                sdk_method_name,
                metadata,
                response_model,
                response_schema,
            )
            if self.hooks is not None:
                await self._announce(calling)
        elif not isinstance(calling, Calling):
            raise TypeError(f"invoke() takes a calling or keywords, not a {type(calling).__name__}: {_HOW}")
        if timeout is not None or poll_timeout is not None:
            set_times(calling, timeout, poll_timeout)
        await self._run(calling)
        return calling

    async def ask(
        self,
        prompt: str | Sequence[Mapping[str, Any]] | None = None,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        system: str | None = None,
        tools: Sequence[Any] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        reasoning_effort: str | None = None,
        response_model: type[Answer] | None = None,
        response_schema: Mapping[str, Any] | AnswerSchema | None = None,
        timeout: float | None = None,
        poll_timeout: float | None = None,
        **request: Any,
    ) -> Response[Answer]:
        """Make one call and return its response; unlike `invoke` it raises the error of a failed call.

        Args:
            prompt: The user's text, or a conversation as a list of messages.
            messages: The conversation, by the name that it has in `invoke`.
            system: The system prompt, before the conversation.
            tools, tool_choice: Tools that the model may call; "auto", "none", "required" or one of them.
            temperature, top_p, max_tokens, stop, seed, reasoning_effort: Parameters of the request; None: as
                the model was made.
            response_model: A pydantic model that the response must match; it is the type of
                `response.parsed`.
            response_schema: A JSON schema instead of a model; `parsed` is then plain JSON data.
            timeout: Seconds that one attempt may take.
            poll_timeout: Seconds the whole call may take, queueing and retries included.
            request: Any further keyword of `invoke`.

        Raises:
            APIClientError: (or whatever error ended it) the call failed.
            ConfigurationError: (a ValueError) an argument cannot work, or there is neither a prompt nor
                messages, or both.

        Example::

            response = await iModel("openai/gpt-4o-mini").ask("How big is the moon?")
            print(response.text)
        """
        given = prompt if messages is None else messages
        if given is None or (prompt is not None and messages is not None):
            raise ConfigurationError("ask takes a prompt or messages", setting="prompt")
        if isinstance(given, Mapping) or not isinstance(given, Sequence):
            raise ConfigurationError(
                f"ask takes a text or a list of messages, got {type(given).__name__}", setting="prompt"
            )
        messages = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
        if system is not None:
            messages = [{"role": "system", "content": system}, *messages]
        calling = await self.invoke(
            messages=messages,
            tools=tools,
            tool_choice=tool_choice,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            stop=stop,
            seed=seed,
            reasoning_effort=reasoning_effort,
            response_model=response_model,
            response_schema=response_schema,
            timeout=timeout,
            poll_timeout=poll_timeout,
            **request,
        )
        return calling.response

    invoke_sync = sync_twin(invoke)
    """`invoke` for scripts and notebooks: the same parameters, waited for on a background loop."""
    ask_sync = sync_twin(ask)
    """`ask` for scripts and notebooks: the same parameters, waited for on a background loop."""

    def invoke_within(self, layers: Sequence[UserLayer]) -> Callable[[Calling], Awaitable[None]]:
        """A function like `invoke`, for callings made by `create_calling`, that has further layers.

        They stand inside the model's own layers at the same place, which may be "observe" to "hedge". Limits,
        breakers and the queue are shared with all other calls. To be used on the running loop.

        Args:
            layers: The further layers.
        """
        self._ready()
        service = self._make_outer(layers)

        async def invoke(calling: Calling) -> None:
            await self._run(calling, service)

        return invoke

    def submit(self, *, response_model: type[Answer] | None = None, **request: Any) -> Calling[Answer]:
        """Put a call in line and return at once; await the calling for its end.

        Takes the keywords of `invoke`. Must be called within a running event loop.

        Raises:
            RuntimeError: without a running loop, or when the executor is not running.
        """
        calling = self._maker.from_keywords({**request, "response_model": response_model})
        service = self._ready()
        if self.hooks is not None and self.hooks.has(HookPhase.PreEventCreate):
            service = self._with_creation_hooks(service)
        self.executor.enqueue(calling, service)
        return calling

    async def create_calling(
        self, timeout: float | None = None, *, response_model: type[Answer] | None = None, **request: Any
    ) -> Calling[Answer]:
        """Make a calling now, to be invoked later: `await model.invoke(calling=calling)`.

        Takes the keywords of `invoke`; `timeout` is that of one attempt, in seconds.
        """
        calling = self._maker.from_keywords({**request, "timeout": timeout, "response_model": response_model})
        if self.hooks is not None:
            await self._announce(calling)
        return calling

    async def acompletion(
        self,
        prompt: str,
        max_tokens: int = 150,
        temperature: float = 0.7,
        num_tokens_to_consume: float = 0,
        **kwargs: Any,
    ) -> Calling:
        """A legacy text completion, where the endpoint has one; elsewhere one turn of a conversation.

        It is sent to the path `completions`, or the SDK's `completions.create`, unless `http_path` or
        `sdk_method_name` is given.

        Args:
            prompt: The text to complete.
            max_tokens, temperature: Fields of the request.
            num_tokens_to_consume: Tokens to reserve, instead of an estimate.
            kwargs: Any keyword of `invoke`.
        """
        return await self.invoke(
            num_api_tokens_needed=num_tokens_to_consume,
            prompt=prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            **{**self._completion_options(), **kwargs},
        )

    def _completion_options(self) -> Mapping[str, Any]:
        """The options of a call that ask for a legacy text completion."""
        return {}

    @takes_parameters_of(ask)
    async def invoke_stream(self, prompt: Any = None, **request: Any) -> AsyncGenerator[StreamChunk, None]:
        """The chunks of one streamed answer as they come; the last is final and has the whole `.response`.

        A stream pays the limiter, runs the hooks and is counted like any call; it is retried until its first
        chunk has left. Leaving the loop early cancels the call. Takes the parameters of `ask`, and any other
        keyword of `invoke`.

        Raises:
            APIClientError: (or what else ended it) after what came before it has been delivered.

        Example::

            async for chunk in model.invoke_stream("Tell me a story."):
                print(chunk, end="")
        """
        if prompt is not None:
            is_conversation = isinstance(prompt, Sequence) and any(
                isinstance(part, Mapping) for part in prompt
            )
            request["messages" if is_conversation else "prompt"] = prompt
        calling = self._maker.from_keywords(request)
        # Closed by name: leaving this generator early must not leave the inner one to the collector.
        async with aclosing(read_stream(calling, self._started)) as chunks:
            async for chunk in chunks:
                yield chunk

    stream_sync = stream_twin(invoke_stream)
    """`invoke_stream` for scripts and notebooks; leaving the loop early cancels the call."""

    async def invoke_stream_with_channel(self, **request: Any) -> StreamChannel:
        """One streamed answer for many readers. Takes the keywords of `invoke`."""
        return StreamChannel(self._maker.from_keywords(request), self._started)

    async def run_tools(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Any],
        max_rounds: int = 8,
        **request: Any,
    ) -> ToolRun:
        """Call the tools the model asks for, side by side, until it answers.

        See `callgate.model.tools.run_tools` for what is sent to the model when a tool fails.
        """
        return await run_tools(self.invoke, messages, tools, max_rounds=max_rounds, **request)
