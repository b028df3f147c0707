"""`AsyncAPIClient`: a client for any HTTP API, with typed errors, retry and a circuit breaker."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError, ConfigurationError
from callgate.exact_json import dumps
from callgate.network.decorators import retrying
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.limit.limiter import Limiter
from callgate.policies.retry.config import RetryConfig
from callgate.providers.quota_headers import read_request_id, read_retry_after, read_should_retry
from callgate.transport.answers import Answer, Headers, read_answer
from callgate.transport.client import AuthOption, HttpClient, Outgoing, hide_auth
from callgate.transport.encoding import Prepared
from callgate.transport.http import HTTP_SETTINGS, HttpAnswer, HttpTransport, Transport
from callgate.transport.keys import hide_secrets
from callgate.transport.origin import origin_of
from callgate.transport.redirects import REDIRECTS
from callgate.transport.status import error_for_status

__all__ = ["AsyncAPIClient"]

# Methods whose repetition has no further effect.
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})


class AsyncAPIClient(HttpClient):
    """Sends requests below one base URL over a connection pool.

    A request returns the parsed JSON, or the text if the body is not JSON; dicts, lists and texts also have
    `status_code` and `headers` (with names in any case). Every status from 300 on is raised as its typed
    error.

    With a retry config, transient errors are retried: connection errors, timeouts, 408, 409, 425, 429 and
    5xx. Every attempt passes the breaker. A POST or PATCH that may have been received is not repeated, unless
    it has an `Idempotency-Key` or `retry_exceptions` lists the error. A Retry-After pauses all requests of
    the client.

    Credentials stay with the base URL's origin: a redirect, or a whole URL, that leads elsewhere is sent
    without the client's headers, auth and cookies.

    Args:
        base_url: https, or http on this machine (elsewhere with `allow_http`).
        timeout: Seconds one attempt may take; None: no limit.
        headers: Sent with every request; those of a request override them, and None there removes one.
        auth: (user, password), an `Auth`, or a function of (method, url, body) that returns headers, which
            may be async.
        client: A `Transport` that several clients may share; None: a new one, closed with this client.
        circuit_breaker, retry_config: Objects, or mappings of their settings; None: none.
        params, cookies, follow_redirects: For every request.
        allow_http: Permit plain HTTP to another machine.
        rng: Source of the jitter of retries.
        client_kwargs: Settings of the `HttpTransport`: `verify`, `proxy`, `max_response_bytes`, ...

    Raises:
        ConfigurationError: (a ValueError) an argument is invalid.

    A request raises the errors of `HttpClient.request`, and:
        CircuitBreakerOpenError: the breaker is open; nothing was sent.
        RetryAfterTooLongError: the Retry-After exceeds `max_retry_after` of the retry config.

    Example::

        async with AsyncAPIClient("https://api.example.com", headers={"x-api-key": key}) as client:
            user = await client.request("GET", "/users/7")
            print(user["name"], user.status_code)
    """

    def __init__(
        self,
        base_url: str,
        timeout: float | None = 10.0,
        headers: Mapping[str, str] | None = None,
        auth: AuthOption | None = None,
        client: Transport | None = None,
        circuit_breaker: CircuitBreaker | Mapping[str, Any] | None = None,
        retry_config: RetryConfig | Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        cookies: Mapping[str, str] | None = None,
        follow_redirects: bool = False,
        allow_http: bool = False,
        rng: random.Random | None = None,
        **client_kwargs: Any,
    ) -> None:
        client_kwargs, headers = hide_secrets(client_kwargs), hide_secrets(headers or {})
        auth = hide_auth(auth)
        self._owned = None if client is not None else _make_transport(client_kwargs)
        super().__init__(
            base_url,
            _check_transport(client, client_kwargs) if self._owned is None else self._owned,
            _error_of,
            timeout=timeout,
            headers=headers,
            auth=auth,
            params=params,
            cookies=cookies,
            follow_redirects=follow_redirects,
            allow_http=allow_http,
        )
        if isinstance(circuit_breaker, Mapping):
            circuit_breaker = CircuitBreaker(**circuit_breaker)
        if isinstance(retry_config, Mapping):
            retry_config = RetryConfig(**retry_config)
        self.circuit_breaker = circuit_breaker
        self.retry_config = retry_config
        self._rng = rng or random.Random()
        # A limiter without limits: a Retry-After pauses it, and with it every request.
        self._pause = Limiter(name=self._origin)

    async def close(self) -> None:
        """Close the connections, unless `client` was given. Idempotent."""
        await super().close()
        if self._owned is not None:
            await self._owned.close()

    async def _send(self, outgoing: Outgoing) -> Answer:
        """Send a request through the breaker, and repeat it as the retry config permits."""
        config = self.retry_config
        if config is None:
            return await self._guarded(outgoing)
        tries = itertools.count()

        async def attempt() -> Answer:
            again = next(tries) > 0
            (self._pause.try_acquire() or await self._pause.acquire(front=again)).release()
            return await self._guarded(outgoing)

        def is_worth_it(error: Exception) -> bool:
            return config.should_retry(error) and (
                config.retry_exceptions is not None or _may_repeat(outgoing.prepared, error)
            )

        return await retrying(
            attempt, config, rng=self._rng, should_retry=is_worth_it, pause=self._pause.pause_until
        )

    async def _guarded(self, outgoing: Outgoing) -> Answer:
        if self.circuit_breaker is None:
            return await super()._send(outgoing)
        answer: Answer = await self.circuit_breaker.execute(super()._send, outgoing)
        return answer


def _make_transport(settings: dict[str, Any]) -> HttpTransport:
    for name in settings:
        if name not in HTTP_SETTINGS:
            raise ConfigurationError(
                f"unknown setting of the client: {name}; known are {', '.join(HTTP_SETTINGS)}", setting=name
            )
    return HttpTransport(**settings)


def _check_transport(client: Any, settings: dict[str, Any]) -> Transport:
    if settings:
        raise ConfigurationError(f"{', '.join(settings)}: set these on the client= that is given")
    if not all(callable(getattr(client, name, None)) for name in ("send", "close")):
        kind = type(client)
        raise ConfigurationError(
            f"client must be a Transport such as HttpTransport, got"
            f" {kind.__module__.partition('.')[0]}.{kind.__qualname__}",
            setting="client",
        )
    transport: Transport = client
    return transport


def _may_repeat(request: Prepared, error: Exception) -> bool:
    """True if a repetition cannot have the effect of the request twice, as far as is known."""
    if request.method in _IDEMPOTENT or "idempotency-key" in request.headers:
        return True
    return getattr(error, "surely_unsent", False) or getattr(error, "status_code", None) is not None


def _error_of(answer: HttpAnswer, request: Prepared) -> APIClientError:
    content = read_answer(answer)
    said = _message_in(content) or "no reason given"
    if answer.status in REDIRECTS:
        where = origin_of(answer.headers.get("location", ""))
        said = f"a redirect to {where}; follow_redirects=True follows it"
    return error_for_status(
        answer.status,
        f"{request.method} at {origin_of(request.url)}: {said}",
        response_content=content,
        headers=Headers(answer.headers),
        code=_code_in(content),
        request_id=read_request_id(answer.headers),
        retry_after=read_retry_after(answer.headers, time.time()),
        retryable=read_should_retry(answer.headers),
    )


def _message_in(content: Any) -> str:
    """The message in an error body, from the usual fields."""
    if isinstance(content, dict):
        inner = content.get("error", content)
        found = inner.get("message") or inner.get("detail") if isinstance(inner, dict) else inner
        if isinstance(found, str):
            return found[:500]
        return dumps(content).decode()[:200] if content else ""
    return str(content)[:200] if content and not isinstance(content, bytes) else ""


def _code_in(content: Any) -> str | None:
    inner = content.get("error") if isinstance(content, dict) else None
    code = inner.get("code") or inner.get("type") if isinstance(inner, dict) else None
    return None if code is None else str(code)
