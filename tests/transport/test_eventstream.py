"""Amazon's binary event stream: frames in pieces of any size, and every kind of damage."""

from __future__ import annotations

import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, strategies as st

from callgate.errors import APIClientError, ResponseError, ResponseTooLargeError
from callgate.transport.eventstream import EventStreamParser, Frame, encode_frame

FIRST = encode_frame({":event-type": "chunk", ":message-type": "event"}, b'{"bytes":"aGk="}')
SECOND = encode_frame({":exception-type": "throttlingException"}, b'{"message":"slow down"}')


def raw_frame(headers: bytes, payload: bytes = b"", *, headers_length: int | None = None) -> bytes:
    """A frame with headers given as bytes, checksums correct."""
    length = len(headers) if headers_length is None else headers_length
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), length)
    body = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def test_frames_are_those_that_the_reference_parser_reads() -> None:
    theirs = EventStreamBuffer()
    theirs.add_data(FIRST + SECOND)
    ours = EventStreamParser().feed(FIRST + SECOND)
    assert [(frame.headers, frame.payload) for frame in ours] == [
        (event.headers, event.payload) for event in theirs
    ]


def test_every_split_in_three_gives_the_same_frames() -> None:
    stream = FIRST + SECOND
    whole = EventStreamParser().feed(stream)
    for one in range(0, len(stream) + 1, 3):
        for two in range(one, len(stream) + 1, 7):
            parser = EventStreamParser()
            pieces = (stream[:one], stream[one:two], stream[two:])
            assert [frame for piece in pieces for frame in parser.feed(piece)] == whole
            assert parser.pending == 0


def test_every_type_of_header_is_read() -> None:
    def header(name: str, kind: int, value: bytes) -> bytes:
        return bytes((len(name),)) + name.encode() + bytes((kind,)) + value

    headers = b"".join(
        (
            header("yes", 0, b""),
            header("no", 1, b""),
            header("byte", 2, struct.pack(">b", -3)),
            header("short", 3, struct.pack(">h", -300)),
            header("int", 4, struct.pack(">i", 70_000)),
            header("long", 5, struct.pack(">q", 2**40)),
            header("bytes", 6, struct.pack(">H", 2) + b"\x00\xff"),
            header("text", 7, struct.pack(">H", 3) + "né".encode()),
            header("when", 8, struct.pack(">q", 1_700_000_000_000)),
            header("uuid", 9, bytes(range(16))),
        )
    )
    (frame,) = EventStreamParser().feed(raw_frame(headers, b"body"))
    assert frame.headers == {
        "yes": True,
        "no": False,
        "byte": -3,
        "short": -300,
        "int": 70_000,
        "long": 2**40,
        "bytes": b"\x00\xff",
        "text": "né",
        "when": 1_700_000_000_000,
        "uuid": bytes(range(16)),
    }
    assert frame.payload == b"body"
    assert (frame.text("text"), frame.text("int"), frame.text("absent")) == ("né", "", "")


@pytest.mark.parametrize("at", range(len(FIRST)))
def test_a_flipped_bit_anywhere_is_noticed(at: int) -> None:
    damaged = bytearray(FIRST)
    damaged[at] ^= 0x10
    parser = EventStreamParser()
    with pytest.raises(ResponseError):
        parser.feed(bytes(damaged))


def test_a_frame_over_the_cap_is_refused_by_its_length_alone() -> None:
    lengths = struct.pack(">II", 2_000, 0)
    parser = EventStreamParser(max_frame_bytes=1_000)
    with pytest.raises(ResponseTooLargeError, match="2000 bytes"):
        parser.feed(lengths + struct.pack(">I", zlib.crc32(lengths)))
    assert EventStreamParser(max_frame_bytes=16).feed(encode_frame({}, b"")) == [Frame({}, b"")]


@pytest.mark.parametrize(
    "frame",
    [
        raw_frame(b"", headers_length=1),
        raw_frame(b"", b"x" * 200_000, headers_length=150_000),
        raw_frame(b"\x05ab"),
        raw_frame(b"\x01a\x0a"),
        raw_frame(b"\x01a\x07\xff\xff"),
        raw_frame(b"\x01a\x07\x00\x01\xff"),
        raw_frame(b"\x01a\x05\x00"),
        raw_frame(b"\x01a\x09\x00"),
        struct.pack(">III", 4, 0, zlib.crc32(struct.pack(">II", 4, 0))),
    ],
)
def test_frames_that_contradict_themselves_are_refused(frame: bytes) -> None:
    with pytest.raises(ResponseError):
        EventStreamParser().feed(frame)


def test_a_frame_that_has_not_ended_is_kept_back() -> None:
    parser = EventStreamParser()
    assert parser.feed(FIRST + SECOND[:-1]) == EventStreamParser().feed(FIRST)
    assert parser.pending == len(SECOND) - 1


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_our_own_errors(data: bytes) -> None:
    parser = EventStreamParser()
    try:
        parser.feed(data)
    except APIClientError:
        return
    assert parser.pending <= len(data)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_arbitrary_headers_with_right_checksums_raise_nothing_else_either(
    headers: bytes, payload: bytes
) -> None:
    try:
        frames = EventStreamParser().feed(raw_frame(headers, payload))
    except ResponseError:
        return
    assert frames[0].payload == payload
