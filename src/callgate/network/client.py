"""A client for any HTTP API: typed errors, retry, circuit breaking; the answer is the JSON itself."""

from __future__ import annotations

import inspect
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Self

import orjson

from callgate.errors import APIClientError, ConfigurationError, error_for_status
from callgate.network.answers import Answer, Headers, read_answer
from callgate.network.decorators import retrying
from callgate.network.encoding import Content, Files, Params, Prepared, join_url, lower_names, prepare
from callgate.network.redirects import MAX_REDIRECTS, REDIRECTS, redirected, without_credentials
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.limit.limiter import Limiter
from callgate.policies.retry.config import RetryConfig
from callgate.providers.quota_headers import read_request_id, read_retry_after, read_should_retry
from callgate.transport.auth import Auth, StaticAuth
from callgate.transport.http import HttpAnswer, HttpTransport, Transport
from callgate.transport.origin import check_base_url, origin_of
from callgate.transport.redact import redact, secrets_in

__all__ = ["AsyncAPIClient"]

AuthOption = tuple[str, str] | Auth | Callable[..., Mapping[str, str] | Awaitable[Mapping[str, str]]]


class _Unset:
    def __repr__(self) -> str:
        return "<as the client>"


_UNSET: Final = _Unset()
# Doing these twice is doing them once. After an answer that got lost, others may have been done already.
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})


class AsyncAPIClient:
    """Requests below one base URL, over connections that are kept.

    A request gives the parsed JSON, or the text when the body is no JSON; dicts, lists and texts also carry
    `status_code` and `headers` (by names in any case). Every status from 300 on is raised as its typed error.

    With a retry config, what failed in passing is tried again, every attempt passing the breaker: connection
    errors, timeouts, 408, 409, 429 and 5xx. A POST or PATCH that may have been received although no answer
    came is not repeated, unless it carries an `Idempotency-Key` or `retry_exceptions` says so. A Retry-After
    pauses all requests of the client.

    Credentials stay with the base URL's origin: a redirect, or a whole URL, that leads elsewhere is sent
    without the client's headers, auth and cookies.

    Args:
        base_url: https, or http on this machine (elsewhere with `allow_http`).
        timeout: Seconds one attempt may take; None: no limit.
        headers: Of every request; a request's own win, and None there leaves one out.
        auth: (user, password), an `Auth`, or a function of (method, url, body) that gives headers, which may
            be async.
        client: What sends the bytes, to be shared; None: one of its own, closed with it.
        circuit_breaker, retry_config: Objects, or mappings of their settings; None: none.
        params, cookies, follow_redirects: Of every request.
        allow_http: Permit plain HTTP to another machine.
        rng: Where the jitter of retries comes from.
        client_kwargs: For the `HttpTransport` of its own: `verify`, `max_response_bytes`, `read_timeout`, ...

    Raises:
        ConfigurationError: (a ValueError) an argument that cannot work.

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
        if client is not None and client_kwargs:
            raise ConfigurationError(f"{', '.join(client_kwargs)}: set these on the client= that is given")
        self.base_url = check_base_url(base_url, allow_http)
        self.timeout = timeout
        self.follow_redirects = follow_redirects
        self._allow_http = allow_http
        self._origin = origin_of(self.base_url)
        self._headers = lower_names(headers)
        self._auth = auth
        self._params = dict(params or {})
        self._cookies = dict(cookies or {})
        self._owned: HttpTransport | None = None if client is not None else _make_transport(client_kwargs)
        self._transport: Transport = client if client is not None else self._owned  # type: ignore[assignment]
        if isinstance(circuit_breaker, Mapping):
            circuit_breaker = CircuitBreaker(**circuit_breaker)
        if isinstance(retry_config, Mapping):
            retry_config = RetryConfig(**retry_config)
        self.circuit_breaker = circuit_breaker
        self.retry_config = retry_config
        self._rng = rng or random.Random()
        # It limits nothing: a Retry-After pauses it, and with it every request.
        self._line = Limiter(name=self._origin)
        self._closed = False

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        json: Any = None,
        data: Mapping[str, Any] | bytes | str | None = None,
        content: Content | None = None,
        files: Files | None = None,
        headers: Mapping[str, str | None] | None = None,
        cookies: Mapping[str, str] | None = None,
        auth: AuthOption | _Unset | None = _UNSET,
        timeout: float | _Unset | None = _UNSET,
        follow_redirects: bool | None = None,
    ) -> Answer:
        """Send a request and give what it answers.

        Args:
            method: Any HTTP method.
            url: A path below the base URL, or a whole URL.
            params: Added to the query.
            json, data, content, files: The body: JSON; a form; bytes or text; a multipart form (`data` being
                its fields).
            headers, cookies: Added to the client's.
            auth, timeout, follow_redirects: Instead of the client's. `auth=None` sends none.

        Raises:
            APIConnectionError: no connection, or it broke.
            APITimeoutError: no answer within `timeout` seconds.
            APIClientError: an answer with a status from 300 on, as the class that `callgate.errors` draws.
            CircuitBreakerOpenError: the breaker refuses; nothing was sent.
            RetryAfterTooLongError: the service asks to wait longer than the retry config permits.
            ConfigurationError: a request that cannot be sent as it stands.
            RuntimeError: the client has been closed.
        """
        if self._closed:
            raise RuntimeError("this AsyncAPIClient has been closed")
        whole = join_url(self.base_url, url)
        home = origin_of(whole) == self._origin
        if not home:
            check_base_url(origin_of(whole), self._allow_http)
        body = {"json": json, "data": data, "content": content, "files": files}
        prepared = await self._prepare(method, whole, home, headers, params, cookies, body)
        if isinstance(auth, _Unset):
            auth = self._auth if home else None
        limit = self.timeout if isinstance(timeout, _Unset) else timeout
        follow = self.follow_redirects if follow_redirects is None else follow_redirects
        return await self._repeat(prepared, lambda: self._attempt(prepared, auth, limit, follow))

    async def call(self, request: Mapping[str, Any], **options: Any) -> Answer:
        """The request that a mapping describes: `method`, `url` and any option of `request`.

        Args:
            request: It is not changed.
            options: Further options; they win.

        Raises:
            ConfigurationError: without a method or a URL; else as `request`.
        """
        settings = {**request, **options}
        missing = [name for name in ("method", "url") if not settings.get(name)]
        if missing:
            raise ConfigurationError(f"a request to call() needs {' and '.join(missing)}")
        return await self.request(settings.pop("method"), settings.pop("url"), **settings)

    async def close(self) -> None:
        """Close the connections, if they are its own. Idempotent."""
        self._closed = True
        if self._owned is not None:
            await self._owned.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncAPIClient {self._origin}{' closed' if self._closed else ''}>"

    async def _prepare(
        self,
        method: str,
        url: str,
        home: bool,
        headers: Mapping[str, str | None] | None,
        params: Params | None,
        cookies: Mapping[str, str] | None,
        body: dict[str, Any],
    ) -> Prepared:
        """The request with what the client adds; away from home that is only what anybody may see."""
        own = self._headers if home else without_credentials(self._headers)
        return await prepare(
            method,
            url,
            _merged(own, headers),
            params=_joined(self._params, params),
            cookies={**self._cookies, **(cookies or {})} if home else cookies,
            **body,
        )

    async def _repeat(self, request: Prepared, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """Attempt it as often as the retry config has it, each time through the breaker."""
        config = self.retry_config
        if config is None:
            return await self._guarded(attempt)
        tries = itertools.count()

        async def attempt_in_line() -> Answer:
            # Only to stand still while the service has asked for it: nothing is held meanwhile.
            again = next(tries) > 0
            (self._line.try_acquire() or await self._line.acquire(front=again)).release()
            return await self._guarded(attempt)

        def worth_it(error: Exception) -> bool:
            return config.should_retry(error) and (
                config.retry_exceptions is not None or _may_repeat(request, error)
            )

        return await retrying(
            attempt_in_line, config, rng=self._rng, should_retry=worth_it, pause=self._line.pause_until
        )

    async def _guarded(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        if self.circuit_breaker is None:
            return await attempt()
        answer: Answer = await self.circuit_breaker.execute(attempt)
        return answer

    async def _attempt(
        self, request: Prepared, auth: AuthOption | None, timeout: float | None, follow: bool
    ) -> Answer:
        """Send it once, redirects included. The credential is made anew: a token may have been renewed."""
        origin = origin_of(request.url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = request.headers
            if auth is not None and origin_of(request.url) == origin:
                headers = {**headers, **await _credentials(auth, request)}
            answer = await self._transport.send(
                request.method, request.url, headers, request.body, timeout=timeout
            )
            if answer.status < 300:
                return read_answer(answer)
            # Some services quote the key that they refuse: it goes into no error, and along no redirect.
            answer = _redacted(answer, secrets_in(headers))
            if not follow or answer.status not in REDIRECTS:
                raise _error_of(answer, request)
            request = redirected(request, answer)
            if origin_of(request.url) != origin:
                auth = None  # and it does not come back should the way lead home again
        raise APIClientError(
            f"{origin} redirected more than {MAX_REDIRECTS} times", status_code=answer.status
        )


def _make_transport(settings: dict[str, Any]) -> HttpTransport:
    try:
        return HttpTransport(**settings)
    except TypeError as error:
        raise ConfigurationError(f"not a setting of the client: {error}") from None


def _merged(own: dict[str, str], headers: Mapping[str, str | None] | None) -> dict[str, str]:
    if not headers:
        return own
    removed = {name.lower() for name, value in headers.items() if value is None}
    kept = {name: value for name, value in own.items() if name not in removed}
    return {**kept, **lower_names({name: value for name, value in headers.items() if value is not None})}


def _joined(own: dict[str, Any], params: Params | None) -> Params | None:
    if not own:
        return params
    if params is None or isinstance(params, Mapping):
        return {**own, **(params or {})}
    raise ConfigurationError("the client has params of its own: give a request's params as a mapping")


async def _credentials(auth: AuthOption, request: Prepared) -> Mapping[str, str]:
    if isinstance(auth, tuple):
        auth = StaticAuth("basic", ":".join(auth))
    if callable(auth):
        made = auth(request.method, request.url, request.body)
        return lower_names(await made if inspect.isawaitable(made) else made)
    ready = auth.ready()
    made = await auth.headers(request.method, request.url, request.body) if ready is None else ready
    return lower_names(made)


def _may_repeat(request: Prepared, error: Exception) -> bool:
    """Whether sending it again cannot do it twice, as far as can be known."""
    if request.method in _IDEMPOTENT or "idempotency-key" in request.headers:
        return True
    return getattr(error, "surely_unsent", False) or getattr(error, "status_code", None) is not None


def _redacted(answer: HttpAnswer, secrets: Sequence[str]) -> HttpAnswer:
    return HttpAnswer(answer.status, redact(answer.headers, secrets), redact(answer.body, secrets))


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
    """What an error body says, in the places where it usually does."""
    if isinstance(content, dict):
        inner = content.get("error", content)
        found = inner.get("message") or inner.get("detail") if isinstance(inner, dict) else inner
        if isinstance(found, str):
            return found[:500]
        return orjson.dumps(content).decode()[:200] if content else ""
    return str(content)[:200] if content and not isinstance(content, bytes) else ""


def _code_in(content: Any) -> str | None:
    inner = content.get("error") if isinstance(content, dict) else None
    code = inner.get("code") or inner.get("type") if isinstance(inner, dict) else None
    return None if code is None else str(code)
