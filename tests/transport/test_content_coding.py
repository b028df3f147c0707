"""Bodies are unpacked by their bytes; the label decides only where these cannot."""

from __future__ import annotations

import gzip
import zlib

import pytest

from callgate.transport.content_coding import Inflater, TruncatedError, make_inflater

BODY = b'{"answer": "caf\xc3\xa9"}' * 20
ROOM = 100_000


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def unpacked(label: str, packed: bytes, piece: int, room: int = ROOM) -> bytes:
    inflater = make_inflater(label)
    if inflater is None:
        return packed
    made = [inflater.feed(packed[at : at + piece], room) for at in range(0, len(packed), piece)]
    return b"".join([*made, inflater.finish(room)])


@pytest.mark.parametrize("piece", [1, 3, 7, 100_000])
@pytest.mark.parametrize(
    ("label", "packed"),
    [
        pytest.param("gzip", gzip.compress(BODY), id="gzip"),
        pytest.param("x-gzip", gzip.compress(BODY), id="x-gzip"),
        pytest.param("GZIP", gzip.compress(BODY), id="upper case"),
        pytest.param("gzip, identity", gzip.compress(BODY), id="gzip and identity"),
        pytest.param("identity, gzip", gzip.compress(BODY), id="identity and gzip"),
        pytest.param(" , gzip", gzip.compress(BODY), id="an empty label"),
        pytest.param("deflate", zlib.compress(BODY), id="deflate"),
        pytest.param("deflate", bare_deflate(BODY), id="bare deflate"),
        pytest.param("gzip", zlib.compress(BODY), id="deflate labelled gzip"),
        pytest.param("gzip, gzip", gzip.compress(gzip.compress(BODY)), id="gzip twice"),
        pytest.param("deflate, gzip", gzip.compress(zlib.compress(BODY)), id="deflate and gzip"),
        pytest.param("gzip", gzip.compress(BODY[:100]) + gzip.compress(BODY[100:]), id="two members"),
        pytest.param("gzip", gzip.compress(BODY) + bytes(20), id="padding"),
    ],
)
def test_packed_bodies_are_unpacked(label: str, packed: bytes, piece: int) -> None:
    assert unpacked(label, packed, piece) == BODY


@pytest.mark.parametrize("piece", [1, 100_000])
@pytest.mark.parametrize(
    "label", ["UTF-8", "none", "binary", "aws-chunked", "8bit", "gzip", "deflate", "br", "zstd", "identity"]
)
def test_a_body_that_is_not_packed_is_read_whatever_its_label(label: str, piece: int) -> None:
    assert unpacked(label, BODY, piece) == BODY


@pytest.mark.parametrize("label", ["UTF-8", "br", "deflate", "none"])
def test_gzip_under_another_label_is_unpacked(label: str) -> None:
    assert unpacked(label, gzip.compress(BODY), 10) == BODY


@pytest.mark.parametrize("label", ["br", "zstd", "compress"])
def test_a_coding_that_cannot_be_unpacked_is_named(label: str) -> None:
    with pytest.raises(ValueError, match=f"unsupported Content-Encoding: {label}"):
        unpacked(label, b"\x28\xb5\x2f\xfd\x04\x00", 100)


@pytest.mark.parametrize("label", ["gzip", "deflate", "gzip, gzip"])
def test_an_empty_body_is_empty(label: str) -> None:
    assert unpacked(label, b"", 10) == b""


@pytest.mark.parametrize("end", [2, 9, -9])
def test_a_packed_body_that_is_cut_off_is_an_error(end: int) -> None:
    with pytest.raises(TruncatedError):
        unpacked("gzip", gzip.compress(BODY)[:end], 100_000)


def test_codings_without_end_are_refused() -> None:
    with pytest.raises(ValueError, match="too many codings"):
        make_inflater("gzip, " * 4 + "gzip")


@pytest.mark.parametrize(
    ("label", "packed"),
    [
        ("gzip", gzip.compress(bytes(50_000))),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(50_000)))),
        ("gzip, gzip", gzip.compress(bytes(50_000))),
    ],
)
def test_no_stage_unpacks_more_than_the_room_and_one_byte(label: str, packed: bytes) -> None:
    inflater = Inflater(label.split(", "))
    assert len(inflater.feed(packed, 1000)) == 1001
