"""Google's token endpoint: exchanges signed assertions for tokens, and checks tokens."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from callgate.testing.simulator.dialects.base import Refusal

__all__ = ["TokenIssuer"]

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_PREFIX = "ya29.simulated-"
_LONGEST = 3600 + 300  # an assertion is valid for an hour; Google allows for some clock skew


class _BadAssertion(Exception):
    pass


class TokenIssuer:
    """Issues and recognises tokens of service accounts.

    `accounts` maps e-mails to public keys (PEM). When empty, the shape of an assertion is checked but not its
    signature, and any token is accepted.

    >>> issuer = TokenIssuer({}, 3600.0, wall=lambda: 0.0)
    >>> issuer.issue(b"grant_type=password")
    (400, {'error': 'unsupported_grant_type', 'error_description': 'Invalid grant_type: password'})
    """

    def __init__(self, accounts: Mapping[str, str], seconds: float, wall: Callable[[], float]) -> None:
        self._accounts = accounts
        self._seconds = seconds
        self._wall = wall
        self._issued: dict[str, tuple[str, float]] = {}
        self._count = 0

    def owner(self, token: str) -> str:
        """The account of a token; empty when the token was not issued here."""
        return self._issued[token][0] if token in self._issued else ""

    def check(self, token: str) -> None:
        """Raise a Refusal unless the token is valid now."""
        if token in self._issued:
            if self._issued[token][1] > self._wall():
                return
        elif token and not self._accounts and not token.startswith(_PREFIX):
            return
        raise Refusal(
            401,
            "authentication",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or "
            "other valid authentication credential.",
        )

    def issue(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and JSON for a token request, a form with `grant_type` and `assertion`."""
        form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
        grant = form.get("grant_type", "")
        if grant != _GRANT:
            message = f"Invalid grant_type: {grant}"
            return 400, {"error": "unsupported_grant_type", "error_description": message}
        try:
            email = self._verified(form.get("assertion", ""))
        except _BadAssertion as error:
            return 400, {"error": "invalid_grant", "error_description": str(error)}
        self._count += 1
        token = f"{_PREFIX}{self._count:06d}"
        self._issued[token] = (email, self._wall() + self._seconds)
        return 200, {"access_token": token, "expires_in": int(self._seconds), "token_type": "Bearer"}

    def _verified(self, assertion: str) -> str:
        """The account that signed this JWT. Raises _BadAssertion."""
        try:
            head, claims, signature = (_decoded(part) for part in assertion.split("."))
            header, claims = orjson.loads(head), orjson.loads(claims)
        except (ValueError, binascii.Error):
            raise _BadAssertion(
                "Invalid JWT: it is not three parts of base64url with JSON in them."
            ) from None
        if not isinstance(header, dict) or header.get("alg") != "RS256":
            raise _BadAssertion("Invalid JWT: the algorithm must be RS256.")
        if not isinstance(claims, dict) or not isinstance(claims.get("iss"), str):
            raise _BadAssertion("Invalid JWT: the claim iss is missing.")
        issued, expires = claims.get("iat"), claims.get("exp")
        if not isinstance(issued, int) or not isinstance(expires, int):
            raise _BadAssertion("Invalid JWT: the claims iat and exp must be whole seconds.")
        if not 0 < expires - issued <= _LONGEST or expires < self._wall():
            raise _BadAssertion("Invalid JWT: Token must be a short-lived token (60 minutes).")
        if not claims.get("aud") or not (claims.get("scope") or claims.get("target_audience")):
            raise _BadAssertion("Invalid JWT: the claims aud and scope are required.")
        if not signature:
            raise _BadAssertion("Invalid JWT Signature.")
        if self._accounts:
            self._verify_signature(claims["iss"], assertion.rpartition(".")[0].encode(), signature)
        return str(claims["iss"])

    def _verify_signature(self, email: str, signed: bytes, signature: bytes) -> None:
        # Imported here: only `google_accounts` needs the package.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        if email not in self._accounts:
            raise _BadAssertion("Invalid grant: account not found")
        key = load_pem_public_key(self._accounts[email].encode())
        if not isinstance(key, RSAPublicKey):
            raise _BadAssertion("Invalid JWT: the account's key is no RSA key.")
        try:
            key.verify(signature, signed, PKCS1v15(), SHA256())
        except InvalidSignature:
            raise _BadAssertion("Invalid JWT Signature.") from None


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
