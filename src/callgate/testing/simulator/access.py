"""Authentication: API keys, AWS signatures, Google tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from callgate.testing.simulator.dialects.base import Refusal, Request
from callgate.testing.simulator.google_tokens import TokenIssuer
from callgate.testing.simulator.options import Options
from callgate.testing.simulator.sigv4 import verify

__all__ = ["Access", "credential"]


def credential(headers: Mapping[str, str]) -> str:
    """The API key from any of the headers that clients use; empty when there is none.

    >>> credential({"authorization": "Bearer k"}), credential({"x-api-key": "k"}), credential({})
    ('k', 'k', '')
    """
    if "x-api-key" in headers:
        return headers["x-api-key"]  # takes precedence when both are sent
    header = headers.get("authorization")
    if header is not None:
        scheme, _, rest = header.partition(" ")
        if scheme.lower() == "bearer":
            return rest.strip()
        if scheme == "AWS4-HMAC-SHA256":
            # The signature differs for every request; the quota belongs to the access key id.
            _, _, scope = rest.partition("Credential=")
            return scope.partition("/")[0]
        return header
    for name in ("x-goog-api-key", "api-key"):
        if name in headers:
            return headers[name]
    return ""


class Access:
    """Checks credentials; `wall` returns seconds since 1970.

    >>> access = Access(Options(keys=["k"]), wall=lambda: 0.0)
    >>> access.known("k"), access.known("other")
    (True, False)
    """

    def __init__(self, options: Options, wall: Callable[[], float]) -> None:
        self._keys = None if options.keys is None else frozenset(options.keys)
        self._aws_secrets = options.aws_secrets
        self._tokens = TokenIssuer(options.google_accounts, options.google_token_seconds, wall)

    def owner(self, headers: Mapping[str, str]) -> str:
        """The owner of the quota: a key, an access key id, or the account behind a token."""
        key = credential(headers)
        return self._tokens.owner(key) or key

    def known(self, key: str) -> bool:
        """Whether this key is accepted."""
        return self._keys is None or key in self._keys

    def check(self, auth: Literal["key", "aws", "google"], request: Request, key: str) -> None:
        """Raise a Refusal unless the request is authenticated."""
        signed = request.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256")
        if auth == "aws" and signed and self._aws_secrets:
            verify(request, self._aws_secrets)
        elif auth == "aws" and self._aws_secrets and not (self._keys and key in self._keys):
            raise Refusal(
                403, "permission", "Missing Authentication Token", code="MissingAuthenticationTokenException"
            )
        elif auth == "google":
            self._tokens.check(credential(request.headers))
        elif not self.known(key):
            raise Refusal(
                401,
                "authentication",
                "Incorrect API key provided." if key else "You didn't provide an API key.",
            )

    def token_page(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and JSON of Google's token endpoint for this form."""
        return self._tokens.issue(body)
