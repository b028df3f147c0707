"""Authentication: `Auth` returns the headers that hold the credential of a request.

`StaticAuth` is a key, `SigV4Auth` an AWS signature of each request. Tokens that expire are in `tokens`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Protocol

from callgate.errors import AuthenticationError, ConfigurationError
from callgate.reprs import live_repr
from callgate.transport.keys import Hidden, Secret, hide, hide_secrets, read_key
from callgate.transport.origin import check_headers
from callgate.transport.redact import SIGNING_UNLOGGED
from callgate.transport.shared_work import SharedWork

__all__ = ["Auth", "HeaderFactory", "SigV4Auth", "StaticAuth"]

_SCHEMES = ("bearer", "basic", "x-api-key", "api-key", "x-goog-api-key", "none")
_NO_HEADERS: Mapping[str, str] = {}


class Auth(Protocol):
    """Returns the headers that authenticate a request.

    Example::

        headers = auth.ready()
        if headers is None:
            headers = await auth.headers("POST", url, body)
    """

    def ready(self) -> Mapping[str, str] | None:
        """The headers, if they are available without waiting and are the same for all requests; else None."""
        ...

    async def headers(self, method: str, url: str, body: bytes | None) -> Mapping[str, str]:
        """The headers for this request.

        Raises:
            AuthenticationError: there are no credentials, or they are refused.
            APIConnectionError: the token service cannot be reached.
        """
        ...


class StaticAuth:
    """A key in a header, the same for every request.

    Args:
        scheme: "bearer", "basic" (key is "user:password"), the name of a header ("x-api-key", "api-key",
            "x-goog-api-key"), or "none".
        key: The key; white space around it is removed. None is permitted for "none" only.

    Raises:
        ConfigurationError: the scheme is unknown, there is no key, or it holds a line break or NUL.

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
            ConfigurationError: (a ValueError) the key is missing, or a header cannot be sent.
        """
        api_key, default_headers = hide(api_key), hide_secrets(default_headers or {})
        headers = {} if content_type is None else {"Content-Type": content_type}
        for name, value in StaticAuth(auth_type, read_key(api_key)).ready().items():
            headers["Authorization" if name == "authorization" else name] = value
        headers.update(default_headers)
        check_headers(headers)
        return headers


class SigV4Auth:
    """AWS Signature Version 4, computed by botocore (extra `aws`).

    Without keys, botocore finds them as the AWS tools do: environment, profile, instance role. Keys that
    expire are renewed in a thread.

    Args:
        region: "us-east-1".
        service: The AWS name of the service.
        access_key, secret_key, session_token: The keys; give both of the first two, or neither.
        profile: The profile of the AWS configuration that is used without keys.

    Raises:
        ConfigurationError: only one of two keys was given, or botocore is not installed.

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
        self._renewal = SharedWork(self._renew)
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
        """None, because each request needs its own signature."""
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
        """Find credentials, and have botocore renew those that expire. Runs in a thread, because of I/O."""
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
