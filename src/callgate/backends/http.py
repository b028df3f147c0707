"""The backend of an HTTP endpoint: encodes in a dialect, sends over a transport, decodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from callgate.backends.address import Address
from callgate.backends.decoding import StreamReader, with_dated_wait
from callgate.backends.request_check import check_request, validate_request
from callgate.call.calling import Calling
from callgate.errors import APIClientError, ResponseError
from callgate.headers import merge_headers
from callgate.providers.canonical.billing import CostBound
from callgate.providers.dialect import Dialect, WireRequest
from callgate.providers.plain_json import PlainJson
from callgate.response import Response
from callgate.transport.answers import redact_answer
from callgate.transport.auth import StaticAuth
from callgate.transport.client import HttpClient
from callgate.transport.encoding import Prepared
from callgate.transport.http import HttpAnswer, HttpTransport, Transport
from callgate.transport.keys import hide_secrets
from callgate.transport.origin import check_headers
from callgate.transport.redact import redact, redact_error, secrets_in

__all__ = ["HttpBackend"]


class HttpBackend:
    """Encodes in a dialect, sends over a transport, decodes.

    Args:
        name: The endpoint's name, for messages.
        dialect: Encodes requests and decodes responses.
        address: The base URL and the authentication.
        path: The path of every request; None: the dialect's own.
        headers: Sent with every call.
        transport: Sends the requests.
        owns_transport: True to close the transport with the backend.
        needs_model: True to refuse a request without a model.
        options: A pydantic model that validates every request; None: no validation.

    Raises:
        ConfigurationError: a header cannot be sent.
    """

    concurrency = "auto"

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        address: Address,
        path: str | None,
        headers: Mapping[str, str],
        transport: Transport,
        *,
        owns_transport: bool,
        needs_model: bool = False,
        options: type[BaseModel] | None = None,
    ) -> None:
        self.dialect = dialect
        self.base_url = self.cache_origin = address.base_url
        self._name = name
        self._path = path
        self._query = address.query
        self._auth = address.auth
        fixed = address.auth.ready() if isinstance(address.auth, StaticAuth) else None
        self._signs = fixed is None
        self.headers: dict[str, str] = {**(fixed or {}), **hide_secrets(headers)}
        check_headers(self.headers)
        # Some services quote the key that they refuse. A response with these bytes is searched for it: every
        # response (b"") if the credential changes with every call, none (None) without a credential.
        secrets = [b""] if fixed is None else [secret.encode() for secret in secrets_in(fixed)]
        self._secret = secrets[0] if secrets else None
        self._owns_transport = owns_transport
        self._transport = transport
        # Only an HttpTransport calls `dispatch` when a request has to wait for a new connection.
        self._sockets = transport if isinstance(transport, HttpTransport) else None
        self._needs_model = needs_model
        self._options = options
        self._client: HttpClient | None = None
        self._closed = False

    @property
    def cache_facts(self) -> dict[str, Any]:
        """Path, query and method, if they are not the dialect's own."""
        facts: dict[str, Any] = {"path": self._path, "query": self._query}
        if isinstance(self.dialect, PlainJson) and self.dialect.method != "POST":
            facts["method"] = self.dialect.method
        return {name: value for name, value in facts.items() if value}

    @property
    def completion(self) -> dict[str, str]:
        """The option of a call for a legacy text completion; empty if the path is fixed."""
        has_one = self.dialect.name in ("openai_chat", "plain_json")
        return {"http_path": "completions"} if has_one and self._path in (None, "/chat/completions") else {}

    @property
    def client(self) -> HttpClient:
        """A client for any request below the base URL, on the same connections."""
        if self._client is None:
            self._client = HttpClient(
                self.base_url,
                self._transport,
                self._client_error,
                headers=self.headers,
                auth=None if not self._signs else self._auth,
                # The base URL has passed its check: plain HTTP was allowed, or no key is sent.
                allow_http=self.base_url.startswith("http:"),
            )
        return self._client

    async def call(self, calling: Calling) -> Response:
        """Send one call, once.

        Raises:
            APIClientError: the call failed, or the request cannot be encoded.
            RuntimeError: the backend is closed.
        """
        # Encoded once per payload: a retry sends the same bytes.
        wire: WireRequest | None = calling.encoded(self) if len(calling.attempts) > 1 else None
        if wire is None:
            wire = self._encode(calling)
        url = self.base_url + wire.path
        if self._query:
            url += ("&" if "?" in wire.path else "?") + self._query
        method = wire.method if calling.http_method is None else calling.http_method.upper()
        calling.note_request(url, method, encoder=self, wire=wire)
        headers: Mapping[str, str] = self.headers
        if wire.headers or self._signs or calling.request_headers:
            headers = await self._headers_for(calling, wire, method, url)
        if self._closed:
            raise RuntimeError(f"the endpoint {self._name!r} is closed")
        try:
            if wire.stream:
                return await self._call_streamed(calling, method, url, headers, wire.body)
            if self._sockets is None:
                answer = await self._transport.send(method, url, headers, wire.body)
            else:
                answer = await self._sockets.send(method, url, headers, wire.body, dispatch=calling.attempt)
            # Removed before decoding, so that no frame of a later error holds the credential.
            if answer.status >= 300 or (self._secret is not None and self._secret in answer.body):
                answer = redact_answer(answer, secrets_in(headers))
            if 200 <= answer.status < 300:
                return self.dialect.decode(answer.body, answer.headers, answer.status)
            raise self._error(answer, url)
        except APIClientError as error:
            redact_error(error, secrets_in(headers))
            raise

    def bound(self, calling: Calling) -> CostBound:
        """The most that one attempt of a call can be billed for.

        Raises:
            InvalidRequestError: the request cannot be encoded.
            UnboundedCostError: a part of the request has no bound.
        """
        wire = self._encode(calling)
        headers = merge_headers(self.headers, wire.headers, calling.request_headers, joined=wire.joined)
        return self.dialect.bound(wire, headers)

    def _encode(self, calling: Calling) -> WireRequest:
        """The encoded request. For a method without a body, such as GET, the fields are in the query."""
        dialect, payload, method = self.dialect, calling.payload, calling.http_method
        path = self._path if calling.http_path is None else "/" + calling.http_path.lstrip("/")
        if self._options is not None:
            payload = validate_request(self._options, payload)
        if isinstance(dialect, PlainJson):
            if method is not None and method.upper() != dialect.method:
                dialect = PlainJson(method)
        elif method is not None and method.upper() not in ("POST", "PUT", "PATCH"):
            dialect = PlainJson(method)
        elif calling.http_path is None:
            check_request(payload, needs_model=self._needs_model)
        return dialect.encode(payload, stream=calling.sink is not None, path=path)

    async def _call_streamed(
        self, calling: Calling, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        if self._sockets is None:
            opened = self._transport.stream(method, url, headers, body)
        else:
            opened = self._sockets.stream(method, url, headers, body, dispatch=calling.attempt)
        async with opened as answer:
            if not 200 <= answer.status < 300:
                whole = HttpAnswer(answer.status, answer.headers, await answer.read())
                whole = redact_answer(whole, secrets_in(headers))
                raise self._error(whole, url)
            reader = StreamReader(calling, self.dialect.stream_decoder(answer.headers))
            async for piece in answer:
                if self._secret is not None and self._secret in piece:
                    piece = redact(piece, secrets_in(headers))
                await reader.feed(piece)
            return await reader.finish(answer.status, answer.headers)

    async def _headers_for(
        self, calling: Calling, wire: WireRequest, method: str, url: str
    ) -> Mapping[str, str]:
        own = hide_secrets(calling.request_headers or {})
        headers = merge_headers(self.headers, wire.headers, own, joined=wire.joined)
        if self._signs:
            proof = self._auth.ready()
            headers.update(proof if proof is not None else await self._auth.headers(method, url, wire.body))
        return headers

    def _client_error(self, answer: HttpAnswer, request: Prepared) -> APIClientError:
        return self._error(answer, request.url)

    def _error(self, answer: HttpAnswer, url: str) -> APIClientError:
        status, headers = answer.status, answer.headers
        if 300 <= status < 400:
            return ResponseError(
                f"{url.split('?', 1)[0]} redirects elsewhere, which is not followed with a key",
                status_code=status,
                headers=headers,
                retryable=False,
                setting="base_url",
                remedy="set the service's real address with",
            )
        return with_dated_wait(self.dialect.error(status, answer.body, headers), headers)

    async def close(self) -> None:
        """Close the transport if the backend owns it. Idempotent."""
        self._closed = True
        if self._client is not None:
            await self._client.close()
        if self._owns_transport:
            await self._transport.close()
