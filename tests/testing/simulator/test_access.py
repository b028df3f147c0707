"""Authentication of simulated requests."""

from __future__ import annotations

import pytest

from callgate.testing.simulator.access import Access, credential
from callgate.testing.simulator.dialects.base import Refusal, Request
from callgate.testing.simulator.options import Options


def access(**options) -> Access:
    return Access(Options(**options), wall=lambda: 0.0)


def request() -> Request:
    return Request("/v1/messages", {}, {}, {}, b"", "POST", "")


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer k"}, "k"),
        ({"authorization": "k"}, "k"),
        ({"x-api-key": "k"}, "k"),
        ({"api-key": "k"}, "k"),
        ({"x-goog-api-key": "k"}, "k"),
        ({}, ""),
    ],
)
def test_the_key_is_read_from_every_header_that_clients_use(headers, key):
    assert credential(headers) == key


def test_the_owner_of_a_signed_request_is_its_access_key_id():
    signature = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host"
    assert credential({"authorization": f"{signature}, Signature=0"}) == "AKID"


def test_only_listed_keys_are_accepted():
    listed = access(keys=["k"])
    assert [listed.known(key) for key in ("k", "other", "")] == [True, False, False]
    listed.check("key", request(), "k")
    with pytest.raises(Refusal) as caught:
        listed.check("key", request(), "other")
    assert caught.value.status == 401


def test_without_a_list_every_request_is_accepted():
    assert access().known("")
    access().check("key", request(), "")
