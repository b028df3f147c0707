"""The backend of an HTTP endpoint: encodes in a dialect, sends over a transport, decodes."""

from __future__ import annotations

from collections.abc import Mapping

from callgate.backends.address import Address
from callgate.backends.decoding import emit, finish, with_dated_wait
from callgate.call.calling import Calling
from callgate.errors import APIClientError, InvalidRequestError, ResponseError
from callgate.headers import merge_headers
from callgate.providers.dialect import Dialect, WireRequest
from callgate.response import Response
from callgate.transport.auth import StaticAuth
from callgate.transport.http import Transport
from callgate.transport.origin import check_headers
from callgate.transport.redact import redact, redact_error, secrets_in

__all__ = ["HttpBackend"]


class HttpBackend:
    """Encodes in a dialect, sends over a transport, decodes.

    Args:
        name: The endpoint's, for messages.
        dialect: How it is said.
        address: Where, and who asks.
        path: Instead of the dialect's own.
        headers: Sent with every call.
        transport: What carries the bytes.
        owns_transport: Whether closing this closes that.

    Raises:
        ConfigurationError: when a header cannot be sent.
    """

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
    ) -> None:
        self.dialect = dialect
        self.base_url = address.base_url
        self._name = name
        self._path = path
        self._query = address.query
        self._auth = address.auth
        fixed = address.auth.ready() if isinstance(address.auth, StaticAuth) else None
        self._signs = fixed is None
        self.headers = {**(fixed or {}), **headers}
        check_headers(self.headers)
        self._owns_transport = owns_transport
        self._transport = transport
        self._closed = False

    @property
    def cache_facts(self) -> dict[str, str]:
        """Where below the address it sends to, if not where the dialect says."""
        facts = {"path": self._path, "query": self._query}
        return {name: value for name, value in facts.items() if value}

    async def call(self, calling: Calling) -> Response:
        """Send one call, once.

        Raises:
            APIClientError: what went wrong, typed.
            RuntimeError: when it is closed.
        """
        wire: WireRequest | None = calling.encoded(self)
        if wire is None:
            path = calling.http_path
            path = self._path if path is None else "/" + path.lstrip("/")
            if "extra_headers" in calling.payload:
                raise InvalidRequestError("extra_headers must be an object of texts", surely_unsent=True)
            wire = self.dialect.encode(calling.payload, stream=calling.sink is not None, path=path)
            calling.keep_encoded(self, wire)
        url = self.base_url + wire.path
        if self._query:
            url += ("&" if "?" in wire.path else "?") + self._query
        method = calling.http_method or wire.method
        calling.note_request(url, method)
        headers: Mapping[str, str] = self.headers
        if wire.headers or self._signs or calling.request_headers:
            headers = await self._headers_for(calling, wire, method, url)
        if self._closed:
            raise RuntimeError(f"the endpoint {self._name!r} is closed")
        try:
            if wire.stream:
                return await self._call_streamed(calling, method, url, headers, wire.body)
            answer = await self._transport.send(method, url, headers, wire.body)
            if 200 <= answer.status < 300:
                return self.dialect.decode(answer.body, answer.headers, answer.status)
            raise self._error(answer.status, answer.body, answer.headers, url, headers)
        except APIClientError as error:
            # Some services quote the key that they refuse.
            redact_error(error, secrets_in(headers))
            raise

    async def _call_streamed(
        self, calling: Calling, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        async with self._transport.stream(method, url, headers, body) as answer:
            if not 200 <= answer.status < 300:
                raise self._error(answer.status, await answer.read(), answer.headers, url, headers)
            decoder = self.dialect.stream_decoder(answer.headers)
            async for piece in answer:
                await emit(calling, decoder, piece)
            return finish(decoder, answer.status, answer.headers)

    async def _headers_for(
        self, calling: Calling, wire: WireRequest, method: str, url: str
    ) -> Mapping[str, str]:
        headers = merge_headers(self.headers, wire.headers, calling.request_headers, joined=wire.joined)
        if self._signs:
            proof = self._auth.ready()
            headers.update(proof if proof is not None else await self._auth.headers(method, url, wire.body))
        return headers

    def _error(
        self, status: int, body: bytes, headers: Mapping[str, str], url: str, sent: Mapping[str, str]
    ) -> APIClientError:
        if 300 <= status < 400:
            return ResponseError(
                f"{url.split('?', 1)[0]} redirects elsewhere; callgate does not follow with a key. Set the"
                " base URL to where the service really is",
                status_code=status,
                headers=headers,
                retryable=False,
            )
        # Before the dialect cuts a long body short, and a key in two.
        return with_dated_wait(self.dialect.error(status, redact(body, secrets_in(sent)), headers), headers)

    async def close(self) -> None:
        """Close the transport, if it is its own. Closing twice changes nothing."""
        self._closed = True
        if self._owns_transport:
            await self._transport.close()
