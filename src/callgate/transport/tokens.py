"""Access tokens: fetched in a thread, once for all waiting calls, and renewed before they expire."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any

from callgate.errors import APIConnectionError, AuthenticationError, ConfigurationError
from callgate.reprs import live_repr
from callgate.transport.keys import Hidden, hide_secrets
from callgate.transport.shared_work import SharedWork

__all__ = ["EntraAuth", "GoogleAuth", "TokenAuth"]

_AHEAD = 300.0
"""Seconds before the expiry of a token at which a new one is fetched in the background."""
_RETRY_AFTER = 30.0
"""Seconds between a failed renewal in the background and the next one."""
_OF_PROVIDER = 60.0
"""Seconds for which a token of a user's function counts as valid; the function has its own cache."""


class TokenAuth(ABC):
    """A bearer token that expires; a subclass fetches it.

    Args:
        wall_clock: Returns seconds since 1970, to read the expiry of a token.
        clock: Returns monotonic seconds.
    """

    __slots__ = ("_clock", "_ends", "_headers", "_renew_at", "_renewal", "_wall")

    def __init__(self, wall_clock: Callable[[], float], clock: Callable[[], float]) -> None:
        self._wall = wall_clock
        self._clock = clock
        self._headers: Mapping[str, str] = {}
        self._renew_at = self._ends = float("-inf")
        self._renewal = SharedWork(self._renew)

    def ready(self) -> Mapping[str, str] | None:
        """The header with the token while it is valid; starts a renewal shortly before it expires."""
        now = self._clock()
        if now >= self._ends:
            return None
        if now >= self._renew_at:
            self._renewal.start()
        return self._headers

    async def headers(self, method: str, url: str, body: bytes | None) -> Mapping[str, str]:
        """The header with the token. Without a valid token, all calls wait for one request of a new one.

        Raises:
            AuthenticationError: The credentials are refused, or there are none.
            APIConnectionError: The token endpoint cannot be reached.
        """
        headers = self.ready()
        if headers is None:
            await self._renewal.wait()
            headers = self._headers
        return headers

    @abstractmethod
    def _fetch(self) -> tuple[str, float]:
        """Return a token and the seconds until it expires. Runs in a thread and may block."""

    def _renew(self) -> None:
        # The time of the next try, if this one fails while the old token is valid.
        self._renew_at = self._clock() + _RETRY_AFTER
        token, lasts = self._fetch()
        now = self._clock()
        self._headers = {"authorization": Hidden(f"Bearer {token}")}
        self._renew_at = now + max(lasts - _AHEAD, lasts / 2)
        self._ends = now + lasts

    @live_repr
    def __repr__(self) -> str:
        state = "ready" if self._clock() < self._ends else "none yet"
        return f"{type(self).__name__}(token={state})"


class GoogleAuth(TokenAuth):
    """A Google access token, fetched by google-auth (extra `gcp`).

    Args:
        credentials: A service account's JSON as a mapping, a google-auth credentials object, or None for
            the default credentials of `gcloud` and the environment.
        scopes: The scopes of the token.
        wall_clock, clock: As for `TokenAuth`.

    Raises:
        ConfigurationError: google-auth is not installed, or the service account lacks a field.

    Example::

        auth = GoogleAuth(json.load(open("account.json")))
        headers = await auth.headers("POST", url, body)
    """

    __slots__ = ("_credentials", "_google", "_scopes")

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
        super().__init__(wall_clock, clock)
        self._google = _import_google()
        self._scopes = list(scopes)
        self._credentials: Any = credentials
        if isinstance(credentials, Mapping):
            self._credentials = self._from_service_account(credentials)

    def _from_service_account(self, info: Mapping[str, Any]) -> Any:
        make = self._google.oauth2.service_account.Credentials.from_service_account_info
        try:
            return make(dict(info), scopes=self._scopes)
        except (ValueError, KeyError, TypeError):
            missing = [f for f in ("client_email", "private_key", "token_uri") if not info.get(f)]
        what = f"lacks {', '.join(missing)}" if missing else "holds a private_key that cannot be read"
        raise ConfigurationError(f"the Google service account {what}", setting="service_account")

    def _fetch(self) -> tuple[str, float]:
        exceptions = self._google.auth.exceptions
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
        return self._credentials.token, lasts


class EntraAuth(TokenAuth):
    """A token of Microsoft Entra ID for Azure, fetched by azure-identity (extra `azure`).

    Args:
        scope: The scope of the token ("https://cognitiveservices.azure.com/.default").
        credential: A credential object of azure-identity, or a function that returns a token; None for
            `DefaultAzureCredential`: the environment, a managed identity, the Azure command line.
        wall_clock, clock: As for `TokenAuth`.

    Raises:
        ConfigurationError: azure-identity is not installed, or the credential is neither.

    Example::

        auth = EntraAuth("https://cognitiveservices.azure.com/.default")
        headers = await auth.headers("POST", url, body)
    """

    __slots__ = ("_credential", "_scope")

    def __init__(
        self,
        scope: str,
        credential: Any = None,
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(wall_clock, clock)
        self._scope = scope
        if credential is None:
            credential = _import_azure_identity().DefaultAzureCredential()
        if not callable(credential) and not callable(getattr(credential, "get_token", None)):
            raise ConfigurationError(
                f"credential must have get_token, or be a function, got {type(credential).__name__}",
                setting="credential",
            )
        self._credential = credential

    def _fetch(self) -> tuple[str, float]:
        try:
            if not hasattr(self._credential, "get_token"):
                return str(self._credential()), _OF_PROVIDER
            token = self._credential.get_token(self._scope)
        except Exception as error:
            # azure-core's errors are recognised by name: with a function, the extra may not be installed.
            if any(kind.__name__ == "ServiceRequestError" for kind in type(error).__mro__):
                what = f"cannot fetch an Entra token: {error}"
                raise APIConnectionError(what, surely_unsent=True) from None
            raise AuthenticationError(f"Entra refuses to issue a token: {error}") from None
        return token.token, token.expires_on - self._wall()


def _import_google() -> Any:
    try:
        import google.auth
        import google.auth.exceptions
        import google.auth.transport.requests
        import google.oauth2.service_account
    except ImportError as error:
        raise ConfigurationError("Google Cloud needs google-auth: pip install 'callgate[gcp]'") from error
    return google


def _import_azure_identity() -> Any:
    try:
        import azure.identity
    except ImportError as error:
        raise ConfigurationError("Entra ID needs azure-identity: pip install 'callgate[azure]'") from error
    return azure.identity
