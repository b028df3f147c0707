"""Signatures of Bedrock requests are verified when secrets are given."""

from __future__ import annotations

import pytest

from tests.testing.simulator.dialect_calls import (
    call,
)


@pytest.mark.parametrize("name", ["bedrock invoke", "bedrock converse"])
def test_unsigned_and_forged_requests_are_refused_when_secrets_are_given(name):
    plan = call(name, aws_secrets={"AK": "secret"})
    assert (plan.status, dict(plan.headers)["x-amzn-errortype"]) == (
        403,
        "MissingAuthenticationTokenException",
    )
    header = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/bedrock/aws4_request"
    header += ", SignedHeaders=host;x-amz-date"
    forged = {
        "authorization": f"{header}, Signature={'0' * 64}",
        "host": "x",
        "x-amz-date": "20260101T000000Z",
    }
    refused = call(name, headers=forged, aws_secrets={"AK": "secret"})
    assert dict(refused.headers)["x-amzn-errortype"] == "InvalidSignatureException"
