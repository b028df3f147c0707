"""Verify AWS signature version 4 from its specification, independently of the signing library."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

from callgate.testing.simulator.dialects.base import Refusal, Request

__all__ = ["verify"]

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 "
    r"Credential=(?P<id>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<signed>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_MUST_BE_SIGNED = ("host", "x-amz-date")


def verify(request: Request, secrets: Mapping[str, str]) -> None:
    """Raise a Refusal unless one of these keys made the signature (access key id -> secret key).

    The age of a signature is not checked: the simulator's clock may be virtual.
    """
    match = _HEADER.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise Refusal(
            403, "permission", "Authorization header is not well formed.", code="IncompleteSignatureException"
        )
    secret = secrets.get(match["id"])
    if secret is None:
        raise Refusal(
            403,
            "authentication",
            "The security token included in the request is invalid.",
            code="UnrecognizedClientException",
        )
    signed = match["signed"].split(";")
    moment = request.headers.get("x-amz-date", "")
    scope = f"{match['date']}/{match['region']}/{match['service']}/aws4_request"
    if (
        match["service"] != "bedrock"
        or not moment.startswith(match["date"])
        or any(name not in signed for name in _MUST_BE_SIGNED)
    ):
        raise _wrong()
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),  # every service except S3 encodes the path twice
            _canonical_query(request.query),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in signed),
            "",
            match["signed"],
            hashlib.sha256(request.raw).hexdigest(),
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    key = ("AWS4" + secret).encode()
    for part in (match["date"], match["region"], match["service"], "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    expected = hmac.digest(key, text.encode(), "sha256").hex()
    if not hmac.compare_digest(expected, match["signature"]):
        raise _wrong()


def _canonical_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _wrong() -> Refusal:
    return Refusal(
        403,
        "permission",
        "The request signature we calculated does not match the signature you provided. Check your AWS "
        "Secret Access Key and signing method.",
        code="InvalidSignatureException",
    )
