"""`JsonDialect`: the common part of the dialects whose responses are JSON documents or server-sent events."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.sse_decoder import decode_stream, read_document
from callgate.providers.dialect import Dialect
from callgate.response import Response

__all__ = ["JsonDialect"]


class JsonDialect(Dialect):
    """Decodes a body as what its first bytes show: one JSON document, or a stream that is complete."""

    @staticmethod
    @abstractmethod
    def _read(data: dict[str, Any], headers: Mapping[str, str], status_code: int) -> Response:
        """The response in a JSON document.

        Raises:
            APIClientError: it is an error.
            ResponseError: it cannot be read.
        """

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        data = read_document(body)
        if data is None:
            return decode_stream(body, self.stream_decoder(headers))
        return self._read(data, headers, status_code)
