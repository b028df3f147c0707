"""Whose request is it: the credential in its headers."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["credential"]


def credential(headers: Mapping[str, str]) -> str:
    """The API key, wherever this provider's clients put it; empty when there is none.

    >>> credential({"authorization": "Bearer k"}), credential({"x-api-key": "k"}), credential({})
    ('k', 'k', '')
    """
    said = headers.get("authorization")
    if said is not None:
        scheme, _, rest = said.partition(" ")
        if scheme.lower() == "bearer":
            return rest.strip()
        if scheme == "AWS4-HMAC-SHA256":
            # The signature changes with every request; the access key id is what the quota belongs to.
            _, _, scope = rest.partition("Credential=")
            return scope.partition("/")[0]
        return said
    for name in ("x-api-key", "x-goog-api-key", "api-key"):
        if name in headers:
            return headers[name]
    return ""
