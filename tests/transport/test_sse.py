"""Server-sent events, in pieces of any size."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from callgate.errors import ResponseTooLargeError
from callgate.transport.sse import ServerSentEvent, SSEParser


def parse(*pieces: bytes) -> list[tuple[str, str]]:
    parser = SSEParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return [(event.event, event.data) for event in [*events, *parser.finish()]]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("", "a")]),
        (b"data:a\n\n", [("", "a")]),
        (b"data:  a \n\n", [("", " a ")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [("x", "a"), ("", "b")]),
        (b"data: a\ndata: b\n\n", [("", "a\nb")]),
        (b"data\n\n", [("", "")]),
        (b": comment\n\n:\n\ndata: a\n\n", [("", "a")]),
        (b"event: x\n\ndata: a\n\n", [("", "a")]),
        (b"id: 1\nretry: 5\nother: z\ndata: a\n\n", [("", "a")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [("", "a"), ("", "b")]),
        (b"data: a\r\rdata: b\r\r", [("", "a"), ("", "b")]),
        (b"data: a\r\n\ndata: b\n\r\n", [("", "a"), ("", "b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", "a")]),
        ("data: ä😀\n\n".encode(), [("", "ä😀")]),
        (b"data: \xff\n\n", [("", "\ufffd")]),
        (b"data: a: b\n\n", [("", "a: b")]),
        (b"error: x\n\ndata: a\n\n", [("error", "x"), ("", "a")]),
        (b"\n\n\n", []),
        (
            b'data: {"a": 1}\ndata: {"b": 2}\ndata: [DONE]\n',
            [("", '{"a": 1}'), ("", '{"b": 2}'), ("", "[DONE]")],
        ),
        (b"event: x\ndata: a\nevent: y\ndata: b\n", [("x", "a"), ("y", "b")]),
        (b'data: {\ndata: "a": {}\ndata: }\n\n', [("", '{\n"a": {}\n}')]),
        (b"data: a\nevent: x\n\n", [("x", "a")]),
        (b"data: data: a\n\n", [("", "a")]),
        (b" data: a\n\nDATA: b\n\n", [("", "a"), ("", "b")]),
        (b"", []),
        (b"data: a", [("", "a")]),
        (b"data: a\n\ndata: b\n", [("", "a"), ("", "b")]),
    ],
)
def test_events_are_read_the_same_at_every_split(stream: bytes, events: list[tuple[str, str]]) -> None:
    assert parse(stream) == events
    for at in range(len(stream) + 1):
        assert parse(stream[:at], stream[at:]) == events
    assert parse(*(stream[at : at + 1] for at in range(len(stream)))) == events


def test_an_event_comes_out_with_the_byte_that_ends_it() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\n") == [ServerSentEvent("", "a")]
    assert parser.feed(b"data: b\r\n\r") == [ServerSentEvent("", "b")]
    assert parser.feed(b"\ndata: c\n\n") == [ServerSentEvent("", "c")]


ALPHABET = st.sampled_from([b"data:", b"event:", b" ", b"\n", b"\r", b"\r\n", b":", b"x", b"\xc3", b"\xa4"])


@given(st.lists(ALPHABET, max_size=30).map(b"".join), st.lists(st.integers(0, 60), max_size=5))
def test_any_pieces_of_any_stream_read_the_same(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    assert parse(*pieces) == parse(stream)


@pytest.mark.parametrize("piece", [b"x" * 100, b"data: " + b"x" * 94, b"data: x\n" * 12])
def test_an_event_over_the_cap_is_our_error(piece: bytes) -> None:
    parser = SSEParser(max_event_bytes=1_000)

    def feed_for_ever() -> None:
        for _ in range(200):
            parser.feed(piece)

    with pytest.raises(ResponseTooLargeError, match="1000 bytes"):
        feed_for_ever()


def test_many_small_events_in_one_piece_are_not_over_the_cap() -> None:
    parser = SSEParser(max_event_bytes=1_000)
    assert len(parser.feed(b"data: x\n\n" * 10_000)) == 10_000


def test_a_long_line_byte_by_byte_takes_linear_work() -> None:
    def pieces_joined(size: int) -> int:
        parser = SSEParser()
        for _ in range(size):
            parser.feed(b"x")
        return len(parser._pieces)

    assert pieces_joined(10_000) == 10_000  # held apart, joined once: not copied with every byte
