"""Authentication: the headers of a request that hold its credential.

A static key costs nothing per call: `ready` returns the same mapping every time. A signature covers one
request. A token is fetched once for all calls that wait for it, in a thread and before the old one ends, so
that no burst of calls waits for it.
"""

from __future__ import annotations

import asyncio
import base64
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC
from typing import Any, Protocol

from callgate.errors import APIConnectionError, AuthenticationError, ConfigurationError
from callgate.reprs import live_repr
from callgate.transport.keys import Hidden, Secret, hide, hide_secrets, read_key
from callgate.transport.origin import check_headers
from callgate.transport.redact import SIGNING_UNLOGGED

__all__ = ["Auth", "GoogleAuth", "HeaderFactory", "SigV4Auth", "StaticAuth"]

_SCHEMES = ("bearer", "basic", "x-api-key", "api-key", "x-goog-api-key", "none")
_NO_HEADERS: Mapping[str, str] = {}
_AHEAD = 300.0
"""Seconds before a token's end at which a new one is fetched, in the background while the old one serves."""


_RETRY_AFTER = 30.0
"""Seconds after a renewal in the background that failed."""


class Auth(Protocol):
    """Returns the headers that authenticate a request.

    Example::

        headers = auth.ready()
        if headers is None:
            headers = await auth.headers("POST", url, body)
    """

    def ready(self) -> Mapping[str, str] | None:
        """The headers, when they need neither waiting nor a look at the request; else None."""
        ...

    async def headers(self, method: str, url: str, body: bytes | None) -> Mapping[str, str]:
        """The headers for this request.

        Raises:
            AuthenticationError: there are no credentials, or they are refused.
            APIConnectionError: a token could not be fetched just now.
        """
        ...


class StaticAuth:
    """A key in a header, the same for every request.

    Args:
        scheme: "bearer", "basic" (key is "user:password"), the name of a header ("x-api-key", "api-key",
            "x-goog-api-key"), or "none".
        key: The key, blanks around it ignored; None is permitted for "none" only.

    Raises:
        ConfigurationError: an unknown scheme, no key, or one that holds a line break or NUL.

    >>> StaticAuth("bearer", "sk-12ab").ready()["authorization"] == "Bearer sk-12ab"
    True
    >>> StaticAuth("x-api-key", "sk-12ab")
    StaticAuth('x-api-key')
    """

    __slots__ = ("_headers", "scheme")

    def __init__(self, scheme: str, key: str | None = None) -> None:
        self.scheme = scheme = str(scheme).lower()
        key = Hidden(key.strip()) if key is not None else None
        if scheme not in _SCHEMES:
            raise ConfigurationError(
                f"unknown auth_type {scheme!r}; use one of {', '.join(_SCHEMES)}", setting="auth_type"
            )
        if scheme == "none":
            self._headers = _NO_HEADERS
            return
        if not key:
            raise ConfigurationError(
                f"auth {scheme!r} needs a key", setting="api_key", remedy="set auth_type='none', or give"
            )
        if scheme == "bearer":
            self._headers = {"authorization": Hidden(f"Bearer {key}")}
        elif scheme == "basic":
            self._headers = {"authorization": Hidden(f"Basic {base64.b64encode(key.encode()).decode()}")}
        else:
            self._headers = {scheme: key}
        check_headers(self._headers)

    def ready(self) -> Mapping[str, str]:
        """The headers."""
        return self._headers

    async def headers(self, method: str, url: str, body: bytes | None) -> Mapping[str, str]:
        """The headers."""
        return self._headers

    @live_repr
    def __repr__(self) -> str:
        return f"StaticAuth({self.scheme!r})"


class HeaderFactory:
    """Makes the headers of a request for any HTTP client.

    >>> HeaderFactory.get_header("x-api-key", api_key="sk-12ab", default_headers={"User-Agent": "me"})
    {'Content-Type': 'application/json', 'x-api-key': '***', 'User-Agent': 'me'}
    """

    @staticmethod
    def get_header(
        auth_type: str,
        content_type: str | None = "application/json",
        api_key: Secret | str | None = None,
        default_headers: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Content type, credential and further headers, in this order; later ones win.

        Args:
            auth_type: One of the schemes of `StaticAuth`: "bearer", "x-api-key", "none", ...
            content_type: None for no such header.
            api_key: A key, or the name of the environment variable that holds it.
            default_headers: Further headers.

        Raises:
            ConfigurationError: (a ValueError) a key is needed and missing, or a header cannot be sent.
        """
        api_key, default_headers = hide(api_key), hide_secrets(default_headers or {})
        headers = {} if content_type is None else {"Content-Type": content_type}
        for name, value in StaticAuth(auth_type, read_key(api_key)).ready().items():
            headers["Authorization" if name == "authorization" else name] = value
        headers.update(default_headers)
        check_headers(headers)
        return headers


class _SharedWork:
    """Runs one blocking function in a thread, once for all callers that wait, in whichever event loop."""

    __slots__ = ("_current", "_lock", "_pid", "_work")

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._current: Future[None] | None = None
        self._pid = os.getpid()

    def start(self) -> Future[None]:
        """The future of the run in progress; starts one if there is none."""
        if self._pid != os.getpid():
            # A forked child has no thread that would end the run, nor one that would release the lock.
            self._pid, self._lock, self._current = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._current is None or self._current.done():
                self._current = Future()
                # Running from the start, so that a cancelled waiter does not cancel it for the others.
                self._current.set_running_or_notify_cancel()
                threading.Thread(target=self._run, args=(self._current,), daemon=True).start()
            return self._current

    async def wait(self) -> None:
        await asyncio.wrap_future(self.start())

    def _run(self, future: Future[None]) -> None:
        try:
            self._work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)


class SigV4Auth:
    """AWS Signature Version 4, computed by botocore (extra `aws`).

    With no keys given, botocore finds them as the AWS tools do: environment, profile, instance role. Keys
    that expire are renewed in a thread.

    Args:
        region: "us-east-1".
        service: The AWS name of the service.
        access_key, secret_key, session_token: The keys; both of the first two, or none of them.
        profile: The profile of the AWS configuration to use when no keys are given.

    Raises:
        ConfigurationError: only half a pair of keys, or botocore is not installed.

    Example::

        auth = SigV4Auth("us-east-1", access_key="AKIA...", secret_key="...")
        headers = await auth.headers("POST", url, body)
    """

    __slots__ = ("_botocore", "_credentials", "_profile", "_renewal", "region", "service")

    def __init__(
        self,
        region: str,
        service: str = "bedrock",
        *,
        access_key: Secret | str | None = None,
        secret_key: Secret | str | None = None,
        session_token: Secret | str | None = None,
        profile: str | None = None,
    ) -> None:
        access_key, secret_key, session_token = map(_plain, (access_key, secret_key, session_token))
        self.region = region
        self.service = service
        self._profile = profile
        self._botocore = _import_botocore()
        self._renewal = _SharedWork(self._renew)
        self._credentials: Any = None
        pair = (access_key, secret_key)
        if any(pair):
            if not all(pair):
                missing = "secret_key" if pair[0] else "access_key"
                raise ConfigurationError(
                    "AWS needs both access_key and secret_key, or neither of them", setting=missing
                )
            self._credentials = self._botocore.credentials.Credentials(*pair, session_token)

    def ready(self) -> None:
        """None: every signature covers its own request."""
        return

    async def headers(self, method: str, url: str, body: bytes | None) -> Mapping[str, str]:
        """The signature of this request, with its date and session token.

        Raises:
            AuthenticationError: no AWS credentials were found.
        """
        credentials = self._credentials
        if credentials is None or getattr(credentials, "refresh_needed", bool)():
            await self._renewal.wait()
            credentials = self._credentials
        request = self._botocore.awsrequest.AWSRequest(method, url, data=body or b"")
        with SIGNING_UNLOGGED:
            self._botocore.auth.SigV4Auth(
                credentials.get_frozen_credentials(), self.service, self.region
            ).add_auth(request)
        return hide_secrets(request.headers)

    def _renew(self) -> None:
        """In a thread: look for credentials, and let botocore renew those that end. Both may do I/O."""
        if self._credentials is None:
            try:
                found = self._botocore.session.Session(profile=self._profile).get_credentials()
            except self._botocore.exceptions.BotoCoreError as error:
                raise AuthenticationError(f"the AWS configuration cannot be used: {error}") from None
            if found is None:
                raise AuthenticationError(
                    "no AWS credentials found",
                    setting="access_key",
                    remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give secret_key= and",
                )
            self._credentials = found
        self._credentials.get_frozen_credentials()

    @live_repr
    def __repr__(self) -> str:
        return f"SigV4Auth({self.region!r}, {self.service!r})"


class GoogleAuth:
    """A Google access token, fetched and renewed by google-auth (extra `gcp`).

    Args:
        credentials: A service account's JSON as a mapping, a google-auth credentials object, or None for
            the default credentials of `gcloud` and the environment.
        scopes: The scopes of the token.
        wall_clock: Seconds since 1970, for reading the token's end.
        clock: Seconds that never jump, for everything after that.

    Raises:
        ConfigurationError: google-auth is not installed, or the service account lacks a field.

    Example::

        auth = GoogleAuth(json.load(open("account.json")))
        headers = await auth.headers("POST", url, body)
    """

    __slots__ = (
        "_clock",
        "_credentials",
        "_ends",
        "_google",
        "_headers",
        "_renew_at",
        "_renewal",
        "_scopes",
        "_wall",
    )

    def __init__(
        self,
        credentials: Mapping[str, Any] | Any | None = None,
        *,
        scopes: Sequence[str] = ("https://www.googleapis.com/auth/cloud-platform",),
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if isinstance(credentials, Mapping):
            credentials = hide_secrets({"service_account": credentials})["service_account"]
        self._google = _import_google()
        self._scopes = list(scopes)
        self._wall = wall_clock
        self._clock = clock
        self._headers: Mapping[str, str] = _NO_HEADERS
        self._renew_at = self._ends = float("-inf")
        self._renewal = _SharedWork(self._renew)
        self._credentials: Any = credentials
        if isinstance(credentials, Mapping):
            self._credentials = self._from_service_account(credentials)

    def ready(self) -> Mapping[str, str] | None:
        """The token while it is valid; shortly before its end a new one is fetched in the background."""
        now = self._clock()
        if now >= self._ends:
            return None
        if now >= self._renew_at:
            self._renewal.start()
        return self._headers

    async def headers(self, method: str, url: str, body: bytes | None) -> Mapping[str, str]:
        """The token; when there is none, all calls wait for one request.

        Raises:
            AuthenticationError: Google refuses the credentials, or there are none.
            APIConnectionError: the token endpoint cannot be reached.
        """
        headers = self.ready()
        if headers is None:
            await self._renewal.wait()
            headers = self._headers
        return headers

    def _from_service_account(self, info: Mapping[str, Any]) -> Any:
        make = self._google.oauth2.service_account.Credentials.from_service_account_info
        try:
            return make(dict(info), scopes=self._scopes)
        except (ValueError, KeyError, TypeError):
            missing = [f for f in ("client_email", "private_key", "token_uri") if not info.get(f)]
        what = f"lacks {', '.join(missing)}" if missing else "holds a private_key that cannot be read"
        raise ConfigurationError(f"the Google service account {what}", setting="service_account")

    def _renew(self) -> None:
        """In a thread: google-auth's own I/O is blocking."""
        exceptions = self._google.auth.exceptions
        # Should this fail while the old token still serves, wait a little before the next try.
        self._renew_at = self._clock() + _RETRY_AFTER
        try:
            if self._credentials is None:
                self._credentials, _ = self._google.auth.default(scopes=self._scopes)
            self._credentials.refresh(self._google.auth.transport.requests.Request())
        except exceptions.TransportError as error:
            raise APIConnectionError(f"cannot fetch a Google token: {error}", surely_unsent=True) from None
        except exceptions.GoogleAuthError as error:
            what = error.args[0] if error.args else type(error).__name__
            raise AuthenticationError(f"Google refuses to issue a token: {what}") from None
        expiry = self._credentials.expiry
        # google-auth's expiry is a naive datetime in UTC.
        lasts = 3600.0 if expiry is None else expiry.replace(tzinfo=UTC).timestamp() - self._wall()
        now = self._clock()
        self._headers = {"authorization": Hidden(f"Bearer {self._credentials.token}")}
        self._renew_at = now + max(lasts - _AHEAD, lasts / 2)
        self._ends = now + lasts

    @live_repr
    def __repr__(self) -> str:
        return f"GoogleAuth(token={'ready' if self._clock() < self._ends else 'none yet'})"


def _plain(value: Secret | str | None) -> str | None:
    if value is None:
        return None
    return Hidden((value if isinstance(value, str) else value.get_secret_value()).strip())


def _import_botocore() -> Any:
    try:
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials
        import botocore.exceptions
        import botocore.session
    except ImportError as error:
        raise ConfigurationError("AWS needs botocore: pip install 'callgate[aws]'") from error
    return botocore


def _import_google() -> Any:
    try:
        import google.auth
        import google.auth.exceptions
        import google.auth.transport.requests
        import google.oauth2.service_account
    except ImportError as error:
        raise ConfigurationError("Google Cloud needs google-auth: pip install 'callgate[gcp]'") from error
    return google
