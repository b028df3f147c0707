"""Requests below one base URL: options in, the parsed body out, every status from 300 on a typed error."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from callgate.errors import APIClientError, ConfigurationError
from callgate.reprs import live_repr
from callgate.transport.answers import Answer, read_answer, redact_answer
from callgate.transport.auth import Auth, StaticAuth
from callgate.transport.encoding import Content, Files, Params, Prepared, join_url, lower_names, prepare
from callgate.transport.http import HttpAnswer, Transport
from callgate.transport.keys import hide, hide_secrets
from callgate.transport.origin import check_base_url, origin_of
from callgate.transport.redact import secrets_in
from callgate.transport.redirects import MAX_REDIRECTS, REDIRECTS, redirected, without_credentials

__all__ = ["AuthOption", "HttpClient", "Outgoing", "hide_auth"]

AuthOption = tuple[str, str] | Auth | Callable[..., Mapping[str, str] | Awaitable[Mapping[str, str]]]


class _Unset:
    def __repr__(self) -> str:
        return "<as the client>"


_UNSET: Final = _Unset()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request with all that the client adds, ready to be sent as often as needed."""

    prepared: Prepared
    auth: AuthOption | None = field(repr=False)
    timeout: float | None
    follow_redirects: bool


class HttpClient:
    """Sends requests below a base URL over a transport that it is given.

    Credentials stay with the base URL's origin: a redirect, or a whole URL, that leads elsewhere is sent
    without the client's headers, auth and cookies.

    Args:
        base_url: https, or http on this machine (elsewhere with `allow_http`).
        transport: Sends the bytes; it is not closed with the client.
        make_error: Makes the error of an answer with a status from 300 on, which was redacted before.
        timeout: Seconds one attempt may take; None: no limit.
        headers: Of every request; a request's own win, and None there leaves one out.
        auth: (user, password), an `Auth`, or a function of (method, url, body) that returns headers, which
            may be async.
        params, cookies, follow_redirects: Of every request.
        allow_http: Permit plain HTTP to another machine.

    Raises:
        ConfigurationError: (a ValueError) an argument that cannot work.
    """

    def __init__(
        self,
        base_url: str,
        transport: Transport,
        make_error: Callable[[HttpAnswer, Prepared], APIClientError],
        *,
        timeout: float | None = 10.0,
        headers: Mapping[str, str] | None = None,
        auth: AuthOption | None = None,
        params: Mapping[str, Any] | None = None,
        cookies: Mapping[str, str] | None = None,
        follow_redirects: bool = False,
        allow_http: bool = False,
    ) -> None:
        headers, auth = hide_secrets(headers or {}), hide_auth(auth)
        self._closed = False
        self.base_url = check_base_url(base_url, allow_http)
        self.timeout = _check_timeout(timeout)
        self.follow_redirects = follow_redirects
        self._allow_http = allow_http
        self._origin = origin_of(self.base_url)
        self._headers = lower_names(headers)
        self._auth = _check_auth(auth)
        self._params = hide_secrets(params or {})
        self._cookies = {name: hide(value) for name, value in (cookies or {}).items()}
        self._transport = transport
        self._make_error = make_error

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
        **unsupported: Any,
    ) -> Answer:
        """Send a request and return the parsed body of its answer.

        Args:
            method: Any HTTP method.
            url: A path below the base URL, or a whole URL.
            params: Added to the query.
            json, data, content, files: The body: JSON; a form; bytes or text; a multipart form (`data` being
                its fields).
            headers, cookies: Added to the client's.
            auth, timeout, follow_redirects: Instead of the client's. `auth=None` sends none.
            unsupported: Options of other HTTP clients, such as httpx's `extensions`; refused.

        Raises:
            APIConnectionError: no connection, or it broke.
            APITimeoutError: no answer within `timeout` seconds.
            APIClientError: an answer with a status from 300 on, as the class drawn in `callgate.errors`.
            ConfigurationError: a request that cannot be sent as it stands.
            RuntimeError: the client has been closed.
        """
        headers, auth = hide_secrets(headers or {}), hide_auth(auth)
        params = hide_secrets(params) if isinstance(params, Mapping) else params
        data = hide_secrets(data) if isinstance(data, Mapping) else data
        cookies = {name: hide(value) for name, value in (cookies or {}).items()}
        self._check(unsupported)
        whole = join_url(self.base_url, url)
        home = self._is_home(whole)
        prepared = await prepare(
            method,
            whole,
            _merged(self._headers if home else without_credentials(self._headers), headers),
            params=_joined(self._params, params),
            cookies={**self._cookies, **cookies} if home else cookies,
            json=json,
            data=data,
            content=content,
            files=files,
        )
        if isinstance(auth, _Unset):
            auth = self._auth if home else None
        seconds = self.timeout if isinstance(timeout, _Unset) else _check_timeout(timeout)
        follow = self.follow_redirects if follow_redirects is None else follow_redirects
        return await self._send(Outgoing(prepared, _check_auth(auth), seconds, follow))

    def _check(self, unsupported: Mapping[str, Any]) -> None:
        if unsupported:
            raise ConfigurationError(f"unknown option of a request: {', '.join(unsupported)}")
        if self._closed:
            raise RuntimeError(f"this {type(self).__name__} has been closed")

    def _is_home(self, url: str) -> bool:
        """True if the URL is at the client's own origin; any other one must pass the check of addresses."""
        origin = origin_of(url)
        if origin == self._origin:
            return True
        check_base_url(origin, self._allow_http)
        return False

    async def call(self, request: Mapping[str, Any], **options: Any) -> Answer:
        """The request that a mapping describes: `method`, `url` and any option of `request`.

        Args:
            request: It is not changed.
            options: Further options; they win.

        Raises:
            ConfigurationError: without a method or a URL; else as `request`.
        """
        settings = hide_secrets({**request, **options})
        missing = [name for name in ("method", "url") if not settings.get(name)]
        if missing:
            raise ConfigurationError(f"a request to call() needs {' and '.join(missing)}")
        return await self.request(settings.pop("method"), settings.pop("url"), **settings)

    async def close(self) -> None:
        """Take no more requests. Idempotent."""
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @live_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._origin}{' closed' if self._closed else ''}>"

    async def _send(self, outgoing: Outgoing) -> Answer:
        """Send a request once, redirects included. The credential is made anew, as a token may be renewed."""
        request, auth = outgoing.prepared, outgoing.auth
        origin = origin_of(request.url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = request.headers
            if auth is not None and origin_of(request.url) == origin:
                headers = {**headers, **await _credentials(auth, request)}
            answer = await self._transport.send(
                request.method, request.url, headers, request.body, timeout=outgoing.timeout
            )
            if answer.status < 300:
                return read_answer(answer)
            # Some services quote the key that they refuse: it goes into no error, and along no redirect.
            answer = redact_answer(answer, secrets_in(headers))
            if not outgoing.follow_redirects or answer.status not in REDIRECTS:
                raise self._make_error(answer, request)
            request = redirected(request, answer)
            if origin_of(request.url) != origin:
                auth = None  # also for a redirect that leads back
        raise APIClientError(
            f"{origin} redirected more than {MAX_REDIRECTS} times", status_code=answer.status
        )


def hide_auth(auth: Any) -> Any:
    """A user and a password that no `repr` shows; any other auth as it is."""
    return tuple(map(hide, auth)) if isinstance(auth, tuple) else auth


def _check_auth(auth: AuthOption | None) -> AuthOption | None:
    if auth is None or isinstance(auth, tuple) or callable(auth) or hasattr(auth, "ready"):
        return auth
    raise ConfigurationError(
        "auth must be (user, password), an Auth or a function of (method, url, body), got"
        f" {_type_name(auth)}",
        setting="auth",
    )


def _check_timeout(timeout: Any) -> float | None:
    if timeout is None or (
        isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout >= 0
    ):
        return timeout
    shown = repr(timeout) if isinstance(timeout, int | float | str) else _type_name(timeout)
    raise ConfigurationError(
        f"timeout must be a non-negative number of seconds or None, got {shown}", setting="timeout"
    )


def _type_name(value: object) -> str:
    kind = type(value)
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def _merged(own: dict[str, str], headers: Mapping[str, str | None]) -> dict[str, str]:
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
        made = await made if inspect.isawaitable(made) else made
    else:
        ready = auth.ready()
        made = await auth.headers(request.method, request.url, request.body) if ready is None else ready
    return {name.lower(): hide(value) for name, value in lower_names(made).items()}
