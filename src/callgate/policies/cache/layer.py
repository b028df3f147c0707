"""The cache layer: returns stored responses, and sends one request for identical calls in flight
(single-flight).

A hit costs nothing and does not queue. Failures are not stored.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar
from weakref import WeakKeyDictionary

from callgate.call.calling import Calling
from callgate.errors import APIClientError, DeadlineExceededError, RefusedError
from callgate.exact_json import dumps
from callgate.headers import without_credentials
from callgate.pipeline import Layer, Service
from callgate.policies.cache.key import CacheKey, make_key
from callgate.policies.cache.store import CacheStore, SharedStore
from callgate.response import Delta, Response, ToolCallDelta

__all__ = ["Flight", "Place", "cache_layer", "is_known", "key_of", "places_layer"]

_T = TypeVar("_T")

_NO_FACTS: Mapping[str, Any] = {}


def key_of(calling: Calling) -> CacheKey | None:
    """The cache key of a call: its backend's address and dialect, and its request; None: not cached.

    A backend's `cache_facts` are further keywords of `make_key`: path, method, query and headers. A backend
    without an address is identified by its type and name. `metadata={"sample": 1}` requests another response
    than sample 0; `metadata={"cache": False}` bypasses the cache.
    """
    metadata = calling.metadata
    if metadata.get("cache") is False:
        return None
    backend, request = calling.backend, calling.payload
    if not isinstance(request, dict):
        return None
    dialect = getattr(backend, "dialect", None)
    if dialect is None:
        kind = type(backend)
        origin, said = f"{kind.__module__}.{kind.__qualname__}", str(getattr(backend, "name", ""))
    else:
        origin, said = getattr(backend, "cache_origin", None) or backend.base_url, dialect.name
    facts: Mapping[str, Any] = getattr(backend, "cache_facts", _NO_FACTS)
    path = calling.http_path or calling.sdk_method_name
    if path or calling.request_headers or calling.http_method:
        facts = _own_facts(calling, facts, path)
    return make_key(origin, said, request, sample=metadata.get("sample", 0), **facts)


def _own_facts(calling: Calling, facts: Mapping[str, Any], path: str | None) -> Mapping[str, Any]:
    """The backend's facts, overridden by the call's own."""
    headers = {**facts.get("headers", {}), **without_credentials(calling.request_headers)}
    method = calling.http_method
    own = {"path": path, "headers": headers, "method": None if method == "POST" else method}
    return {**facts, **{name: value for name, value in own.items() if value}}


@dataclass(frozen=True, slots=True)
class Place:
    """A store and the key under which the response to one call is stored there.

    Attributes:
        store: The store.
        flights: Requests in flight of all pipelines with this store, by the digest of their key.
        key: The key of the call there.
        endpoints: Names of the endpoints whose responses are stored there; None: all.
    """

    store: CacheStore
    flights: MutableMapping[bytes, Flight]
    key: CacheKey
    endpoints: frozenset[str] | None = None


async def is_known(places: Sequence[Place]) -> bool:
    """True if one of the places has the response or a request in flight for it."""
    for place in places:
        flight = place.flights.get(place.key.digest)
        if flight is not None and flight.loop is asyncio.get_running_loop():
            return True
        kept = place.store.get(place.key)
        if (await kept if isinstance(kept, Awaitable) else kept) is not None:
            return True
    return False


class Flight:
    """One request in flight, and the calls that wait for its response (single-flight).

    One call is the leader and sends the request. If it ends without a response, or with an error of its own
    (see `_concerns_all`), the next call becomes the leader: no call ends because another one was cancelled or
    refused.
    """

    __slots__ = ("_waiters", "loop", "places")

    def __init__(self, loop: asyncio.AbstractEventLoop, places: Sequence[Place]) -> None:
        self.loop = loop
        self.places = places
        """The places in which it is registered."""
        self._waiters: deque[tuple[Any, asyncio.Future[Response | None]]] = deque()

    def register(self) -> None:
        """Make it known to identical calls."""
        for place in self.places:
            place.flights[place.key.digest] = self

    def _unregister(self) -> None:
        """Remove it, so that no further call joins."""
        for place in self.places:
            if place.flights.get(place.key.digest) is self:
                del place.flights[place.key.digest]

    async def join(self, pipeline: Any) -> Response | None:
        """Wait for the response, for a call of `pipeline`; None: the caller is the leader now.

        Raises:
            APIClientError: the leader's error, if it concerns this pipeline too.
        """
        waiter: asyncio.Future[Response | None] = self.loop.create_future()
        self._waiters.append((pipeline, waiter))
        try:
            return await waiter
        except asyncio.CancelledError:
            # Cancelled after it became the leader and before its task ran: the next call becomes the leader.
            if (
                waiter.done()
                and not waiter.cancelled()
                and waiter.exception() is None
                and waiter.result() is None
            ):
                self.pass_on()
            raise

    def pass_on(self) -> None:
        """Make the next waiting call the leader; if none waits, the flight ends."""
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._unregister()

    def land(self, response: Response) -> None:
        """Give each waiting call a copy of the response, and end the flight."""
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(_copy(response))
        self._waiters.clear()
        self._unregister()

    def crash(self, error: APIClientError, pipeline: Any) -> None:
        """End each waiting call of the same pipeline with a copy of the error; the first of the others leads.

        Calls of other pipelines do not get the error, because their API keys, limits and connections differ.
        It is copied, because one exception raised in many tasks would mix their tracebacks.
        """
        others: deque[tuple[Any, asyncio.Future[Response | None]]] = deque()
        for asked, waiter in self._waiters:
            if asked is not pipeline:
                others.append((asked, waiter))
            elif not waiter.done():
                shared = copy.copy(error)
                shared.__cause__ = error
                waiter.set_exception(shared)
        self._waiters = others
        self.pass_on()


def cache_layer(
    store: CacheStore,
    make_key: Callable[[Calling], CacheKey | None] = key_of,
    flights: MutableMapping[bytes, Flight] | None = None,
    fits: Callable[[Calling, Response], bool] = lambda calling, response: True,
) -> Layer:
    """Answer from a store, join an identical request in flight, or send the request and store the response.

    Args:
        store: The store. With a `SharedStore`, calls also wait for identical requests of other processes.
        make_key: Returns the key of a call, or None for a call that is not cached.
        flights: Requests in flight, shared by all pipelines with this store.
        fits: Returns False for a response that does not match its schema. It is stored only after a later
            response to the same calling fits.
    """
    shared = {} if flights is None else flights

    def places(calling: Calling) -> Sequence[Place]:
        key = make_key(calling)
        return () if key is None else (Place(store, shared, key),)

    return places_layer(places, fits)


def places_layer(
    places: Callable[[Calling], Sequence[Place]], fits: Callable[[Calling, Response], bool]
) -> Layer:
    """The cache of a model with several endpoints, whose responses may be stored in different places.

    A calling that gets a stored response, or that of an identical call, has `cached` set and costs nothing.
    Its stream has the text in one piece. Any `APIClientError` of the leader is raised for all calls that wait
    in the same pipeline, except a refusal, a passed deadline, and an error of a stream that had begun.

    Args:
        places: Returns the places of the response to a call; empty: it is not cached.
        fits: As for `cache_layer`.
    """
    return lambda call: _Cached(call, places, fits).call


class _Cached:
    """The layer around one service."""

    __slots__ = ("_call", "_fits", "_misfits", "_places")

    def __init__(
        self,
        call: Service,
        places: Callable[[Calling], Sequence[Place]],
        fits: Callable[[Calling, Response], bool],
    ) -> None:
        self._call = call
        self._places = places
        self._fits = fits
        self._misfits: WeakKeyDictionary[Calling, list[tuple[Place, Response]]] = WeakKeyDictionary()

    async def call(self, calling: Calling) -> Response:
        """The stored response, that of an identical call in flight, or that of a new request."""
        places = self._places(calling)
        if not places:
            return await self._call(calling)
        loop = asyncio.get_running_loop()
        for place in places:
            flight = place.flights.get(place.key.digest)
            if flight is not None and flight.loop is loop:
                found = await _sharing(calling, flight.join(self))
                if found is None:
                    return await self._lead(calling, flight, ())
                return await _answer_with(found, calling)
        pending: list[Awaitable[Response | None]] = []
        for place in places:
            kept = place.store.get(place.key)
            if isinstance(kept, Response):
                return await _answer_with(kept, calling)
            if kept is not None:
                pending.append(kept)
        flight = Flight(loop, places)
        flight.register()
        return await self._lead(calling, flight, pending)

    async def _lead(
        self, calling: Calling, flight: Flight, pending: Sequence[Awaitable[Response | None]]
    ) -> Response:
        kept: Response | None = None
        locked: list[tuple[SharedStore, CacheKey]] = []
        try:
            try:
                # Only the leader awaits a store; identical calls wait for the leader.
                for each in pending:
                    kept = kept or await each
                if kept is None:
                    kept = await _lock(calling, flight.places, locked)
                if kept is None:
                    calling.cached = False  # an earlier response to the same calling may have been cached
                    response = await self._call(calling)
                else:
                    response = kept
            except BaseException as error:
                if _concerns_all(error, calling):
                    flight.crash(error, self)
                else:
                    flight.pass_on()
                raise
            try:
                if kept is not None:
                    return await _answer_with(kept, calling)
                # Stored before the flight ends, so that a new call finds one or the other.
                if _is_answer(response):
                    await self._keep(calling, flight.places, response)
                return response
            finally:
                flight.land(response)
        finally:
            for store, key in locked:
                store.release(key)

    async def _keep(self, calling: Calling, places: Sequence[Place], response: Response) -> None:
        """Store a response. One that does not fit is stored together with a later one that does.

        A rerun then finds all responses that led to the one that fits. If none fits, nothing is stored.
        """
        by = calling.attempts[-1].endpoint if calling.attempts else None
        for attempt in calling.attempts:
            if attempt.response is response:
                by = attempt.endpoint
        place = next((each for each in places if each.endpoints is None or by in each.endpoints), None)
        if place is None:
            return
        if not self._fits(calling, response):
            self._misfits.setdefault(calling, []).append((place, response))
            return
        if self._misfits:
            for earlier, misfit in self._misfits.pop(calling, ()):
                await earlier.store.put(earlier.key, misfit)
        await place.store.put(place.key, response)


async def _lock(
    calling: Calling, places: Sequence[Place], locked: list[tuple[SharedStore, CacheKey]]
) -> Response | None:
    """Lock the request in shared stores; returns the response if another process has stored it meanwhile."""
    # In the same order in all processes, which avoids a deadlock.
    for place in sorted(places, key=lambda each: each.key.digest):
        store = place.store
        if not isinstance(store, SharedStore):
            continue
        claim = store.claim(place.key)
        if claim if isinstance(claim, bool) else await _sharing(calling, claim):
            locked.append((store, place.key))
        left = store.get(place.key)
        response = await left if isinstance(left, Awaitable) else left
        if response is not None:
            return response
    return None


async def _sharing(calling: Calling, answer: Awaitable[_T]) -> _T:
    """Wait for a request that another call or process has sent; `calling.shares` is True meanwhile."""
    calling.shares = True
    try:
        return await answer
    finally:
        calling.shares = False


async def _answer_with(response: Response, calling: Calling) -> Response:
    """Answer a calling from the cache; a stream gets each part of the response in one piece."""
    calling.cached = True
    if calling.sink is not None:
        if response.reasoning:
            await calling.emit(Delta(reasoning=response.reasoning))
        if response.text:
            await calling.emit(Delta(text=response.text))
        for index, call in enumerate(response.tool_calls):
            written = call.raw_arguments or dumps(call.arguments).decode()
            await calling.emit(Delta(tool_call=ToolCallDelta(index, call.id, call.name, written)))
    return response


def _is_answer(response: Response) -> bool:
    """True unless it reports a failure."""
    return response.status_code < 400 and response.finish_reason != "error"


def _concerns_all(error: BaseException, calling: Calling) -> TypeGuard[APIClientError]:
    """True if an identical call would probably end with the same error.

    A refusal depends on the call's own deadline and estimate. A stream cannot be retried after its first
    delta, while a call that is not streamed can.
    """
    own = RefusedError | DeadlineExceededError
    return isinstance(error, APIClientError) and not isinstance(error, own) and not calling.delivered


def _copy(response: Response) -> Response:
    """A copy that its caller may change, as one from a store. Objects that a tool returned are shared."""
    own = copy.copy(response)
    own.tool_calls = copy.deepcopy(response.tool_calls)
    if response.raw is not response.data:  # the provider's JSON
        own.raw = copy.deepcopy(response.raw)
    own.metadata = dict(response.metadata)
    return own
