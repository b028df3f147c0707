"""One connection, fed by hand: answers in pieces of every size, and what must not follow an answer."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from callgate.errors import APIClientError, APIConnectionError, ResponseError, ResponseTooLargeError
from callgate.transport.connection import Connection, Exchange
from tests.effort import examples

HELLO = b"hello, world"


class Socket:
    """Stands where the event loop's transport stands."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False
        self.reading = True
        self.unsent = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class ConnectionOnFakeSocket:
    """A connection, its socket, and who was told that it is free or lost."""

    def __init__(self) -> None:
        self.socket = Socket()
        self.released = 0
        self.lost = 0
        self.connection = Connection((False, "h", 80), self._release, self._lose, lambda: 7.0)
        self.connection.connection_made(self.socket)  # type: ignore[arg-type]

    def _release(self, _: Connection) -> None:
        self.released += 1

    def _lose(self, _: Connection) -> None:
        self.lost += 1

    def begin(self, method: str = "GET", limit: int = 1 << 20, streaming: bool = False) -> Exchange:
        exchange = Exchange(method, "http://h:80", limit, streaming=streaming)
        self.connection.begin(exchange, b"request")
        return exchange

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.socket.closed:
                self.connection.data_received(piece)

    def end(self, error: Exception | None = None) -> None:
        self.connection.connection_lost(error)


def body_of(exchange: Exchange) -> bytes:
    assert exchange.complete, exchange.error
    return b"".join(exchange.pieces)


def packed(body: bytes, coding: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    lines = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + lines + b"0\r\n" + trailer + b"\r\n"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


WHOLE: dict[str, bytes] = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + HELLO,
    "chunked": chunked(b"hello", b", ", b"world"),
    "chunked with a trailer": chunked(HELLO, trailer=b"x-checksum: 1\r\n"),
    "gzip": packed(gzip.compress(HELLO), "gzip"),
    "gzip in two members": packed(gzip.compress(HELLO[:5]) + gzip.compress(HELLO[5:]), "gzip"),
    "deflate": packed(zlib.compress(HELLO), "deflate"),
    "bare deflate": packed(raw_deflate(HELLO), "deflate"),
    "identity": packed(HELLO, "identity"),
    "news before it": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n" + HELLO,
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_an_answer_is_the_same_in_pieces_of_every_size(kind: str, size: int) -> None:
    conn, raw = ConnectionOnFakeSocket(), WHOLE[kind]
    for _ in range(3):  # and the connection serves the next request
        exchange = conn.begin()
        conn.feed(*(raw[at : at + size] for at in range(0, len(raw), size)))
        assert body_of(exchange) == HELLO
        assert exchange.status == 200
        assert "link" not in exchange.headers
        assert conn.connection.usable
    assert conn.released == 3


@examples(100)
@given(
    body=st.binary(max_size=300),
    form=st.sampled_from(["length", "chunked", "gzip", "deflate"]),
    seed=st.integers(0, 2**32),
)
def test_any_body_in_any_form_comes_out_as_it_went_in(body: bytes, form: str, seed: int) -> None:
    rng = random.Random(seed)
    if form == "length":
        raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    elif form == "chunked":
        cuts = sorted(rng.randint(0, len(body)) for _ in range(4))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        raw = chunked(*(piece for piece in pieces if piece))
    else:
        raw = packed(gzip.compress(body) if form == "gzip" else zlib.compress(body), form)
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin()
    at = 0
    while at < len(raw):
        step = rng.randint(1, 40)
        conn.feed(raw[at : at + step])
        at += step
    assert body_of(exchange) == body


def test_names_of_headers_are_lower_case_and_repeated_ones_joined() -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin()
    conn.feed(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-A:  b \r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n"
    )
    assert exchange.headers == {"set-cookie": "a=1, b=2", "x-a": "b", "content-length": "0"}


def test_an_unpacked_answer_does_not_claim_to_be_packed() -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin()
    conn.feed(WHOLE["gzip"])
    assert exchange.headers == {}


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_ends_with_its_head(status: int) -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin()
    conn.feed(b"HTTP/1.1 %d -\r\ncontent-encoding: gzip\r\n\r\n" % status)
    assert body_of(exchange) == b""
    assert conn.connection.usable


def test_the_answer_to_a_head_request_has_none_whatever_its_headers_say() -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin("HEAD", limit=10)
    conn.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n")
    assert body_of(exchange) == b""
    assert exchange.headers["content-length"] == "5000"
    assert conn.socket.closed  # the parser cannot go on from here


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin()
    conn.feed(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert not exchange.complete
    conn.end()
    assert body_of(exchange) == b"hello"
    assert (conn.released, conn.lost) == (0, 1)


def test_a_body_without_a_length_that_breaks_off_is_not_taken_for_whole() -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin()
    conn.feed(b"HTTP/1.1 200 OK\r\n\r\nhello")
    conn.end(ConnectionResetError(104, "Connection reset by peer"))
    assert isinstance(exchange.error, APIConnectionError)


@pytest.mark.parametrize("last", [b"Connection: close\r\n", None])
def test_a_connection_that_will_be_closed_is_not_reused(last: bytes | None) -> None:
    conn = ConnectionOnFakeSocket()
    conn.begin()
    version = b"1.1" if last else b"1.0"
    conn.feed(b"HTTP/%b 200 OK\r\n%bcontent-length: 2\r\n\r\nhi" % (version, last or b""))
    assert conn.socket.closed
    assert conn.released == 0


@pytest.mark.parametrize(
    "extra",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstale", b"\x00garbage"],
    ids=["another answer", "garbage"],
)
def test_what_follows_an_answer_unasked_never_reaches_the_next_request(extra: bytes) -> None:
    """Else a service that answers twice would answer one caller with what is another's."""
    conn = ConnectionOnFakeSocket()
    first = conn.begin()
    conn.feed(WHOLE["length"] + extra)  # in one piece with the answer
    assert first.complete or first.error is not None
    assert not conn.connection.usable
    conn = ConnectionOnFakeSocket()
    conn.begin()
    conn.feed(WHOLE["length"], extra)  # while it is idle
    assert conn.socket.closed
    assert not conn.connection.usable


@pytest.mark.parametrize("together", [True, False], ids=["with the answer", "after it"])
@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\n", b"H", b"\x00garbage"])
def test_what_follows_an_answer_unasked_closes_the_connection(extra: bytes, together: bool) -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin()
    conn.feed(*([WHOLE["length"] + extra] if together else [WHOLE["length"], extra]))
    assert conn.socket.closed
    assert body_of(exchange) == HELLO  # which was whole before
    assert exchange.error is None


def test_an_answer_before_the_end_of_its_request_ends_the_connection() -> None:
    """Else the next request would stand in conn behind the rest of a body that nobody reads."""
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin("POST")
    conn.socket.unsent = 1
    conn.feed(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
    assert (exchange.status, body_of(exchange)) == (413, b"no")
    assert conn.socket.closed
    assert conn.released == 0


def test_a_request_that_waits_below_tls_has_not_gone_out_either() -> None:
    for unsent in (0, 1):
        conn, wire = ConnectionOnFakeSocket(), Socket()
        conn.connection.set_transports([wire, conn.socket])  # type: ignore[list-item]
        wire.unsent = unsent
        exchange = conn.begin("POST")
        conn.feed(WHOLE["length"])
        assert body_of(exchange) == HELLO
        assert conn.released == 1 - unsent
    conn, wire = ConnectionOnFakeSocket(), Socket()
    conn.connection.set_transports([wire, conn.socket])  # type: ignore[list-item]
    conn.socket.unsent = 1
    conn.begin("POST")
    conn.feed(WHOLE["length"])
    assert conn.released == 0


def test_a_trailer_is_no_header() -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin()
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nretry-after: 1\r\n\r\n"
    conn.feed(head + b"2\r\nhi\r\n0\r\nretry-after: 999\r\nx-late: 1\r\n\r\n")
    assert body_of(exchange) == b"hi"
    assert exchange.headers == {"transfer-encoding": "chunked", "retry-after": "1"}
    second = conn.begin()
    conn.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert second.headers == {"content-length": "0"}


@pytest.mark.parametrize("body", [b"", b"2\r\nhi\r\n"], ids=["no body", "a body"])
@pytest.mark.parametrize(
    "endless", [b"x-a: " + b"a" * 1000 + b"\r\n", b"a" * 1000, b"0;"], ids=["many", "one", "the last chunk's"]
)
def test_trailers_without_end_are_refused(body: bytes, endless: bytes) -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin(limit=1000)
    conn.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0")
    conn.feed(b";" if endless == b"0;" else b"\r\n")
    sent = 0
    while exchange.error is None and sent < 1 << 20:
        conn.feed(endless * 10)
        sent += len(endless) * 10
    assert isinstance(exchange.error, ResponseError)
    assert sent < 300_000
    assert conn.socket.closed


def test_a_long_body_in_small_chunks_is_no_endless_trailer() -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin()
    conn.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(100):
        conn.feed(b"1;note=%b\r\nx\r\n" % (b"n" * 5000))
    conn.feed(b"0\r\n\r\n")
    assert body_of(exchange) == b"x" * 100


NO_ANSWER: dict[str, bytes] = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a status that is no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "no size of a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    "one header without end": b"HTTP/1.1 200 OK\r\n" + b"x-a: %b\r\n" % (b"a" * 300_000),
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"x-a: aaaaaaaaaa\r\n" * 30_000,
    "damaged gzip": packed(b"\x1f\x8bnot packed", "gzip"),
    "damaged deflate": packed(b"\x00\x01\x02not packed", "deflate"),
    "gzip cut off": packed(gzip.compress(HELLO)[:-6], "gzip"),
    "a coding without a decoder": packed(b"\x28\xb5\x2f\xfd\x04\x00", "zstd"),
}


@pytest.mark.parametrize("kind", NO_ANSWER)
def test_what_is_no_answer_is_refused_and_closes_the_connection(kind: str) -> None:
    raw = NO_ANSWER[kind]
    for pieces in ([raw], [raw[at : at + 1000] for at in range(0, len(raw), 1000)]):
        conn = ConnectionOnFakeSocket()
        exchange = conn.begin()
        conn.feed(*pieces)
        assert isinstance(exchange.error, ResponseError)
        assert not exchange.complete
        assert conn.socket.closed
        assert len(str(exchange.error)) < 400


@pytest.mark.parametrize("kind", ["length", "chunked", "gzip", "deflate"])
def test_the_cap_counts_what_comes_out(kind: str) -> None:
    conn = ConnectionOnFakeSocket()
    assert body_of_capped(conn, WHOLE[kind], len(HELLO)) == HELLO
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin(limit=len(HELLO) - 1)
    conn.feed(WHOLE[kind])
    assert isinstance(exchange.error, ResponseTooLargeError)
    assert conn.socket.closed


def body_of_capped(conn: ConnectionOnFakeSocket, raw: bytes, limit: int) -> bytes:
    exchange = conn.begin(limit=limit)
    conn.feed(raw)
    return body_of(exchange)


def test_a_body_that_says_it_is_too_large_is_not_waited_for() -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin(limit=1000)
    conn.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n")
    assert isinstance(exchange.error, ResponseTooLargeError)


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhel"], ids=["before", "in the middle"]
)
def test_a_lost_connection_wakes_the_waiting_call(begun: bytes) -> None:
    for error in (None, ConnectionResetError(104, "Connection reset by peer")):
        conn = ConnectionOnFakeSocket()
        exchange = conn.begin()
        if begun:
            conn.feed(begun)
        conn.end(error)
        assert isinstance(exchange.error, APIConnectionError)
        assert not exchange.error.surely_unsent
        assert ("middle" in str(exchange.error)) == bool(begun)


def test_a_stream_that_is_not_read_makes_the_other_side_wait() -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin(limit=1 << 30, streaming=True)
    conn.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
    while conn.socket.reading:
        conn.feed(b"x" * 50_000)
    assert exchange.buffered < 400_000
    while not conn.socket.reading:
        piece = exchange.pieces.popleft()
        exchange.buffered -= len(piece)
        conn.connection.resume(exchange)
    assert 0 < exchange.buffered < 100_000


def test_a_stream_that_ends_while_the_other_side_waits_lets_it_go_on() -> None:
    """TLS hands over what it has unpacked already, also when no more is to be read."""
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin(limit=1 << 30, streaming=True)
    conn.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 400000\r\n\r\n", b"x" * 300_000)
    assert not conn.socket.reading
    conn.feed(b"x" * 100_000)
    assert exchange.complete
    assert conn.socket.reading
    assert conn.connection.usable


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_packed_answer_without_a_body_is_whole(method: str) -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin(method)
    conn.feed(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n")
    assert body_of(exchange) == b""


def test_an_exchange_that_is_given_up_closes_only_its_own_connection() -> None:
    conn = ConnectionOnFakeSocket()
    first = conn.begin()
    conn.feed(WHOLE["length"])
    second = conn.begin()
    conn.connection.abandon(first)  # it is over, and the connection another's
    assert not conn.socket.closed
    conn.connection.abandon(second)
    assert conn.socket.closed


def test_shut_fails_the_waiting_call_without_a_retry() -> None:
    conn = ConnectionOnFakeSocket()
    exchange = conn.begin()
    conn.connection.shut()
    conn.end()
    error: Any = exchange.error
    assert isinstance(error, APIClientError)
    assert not error.retryable
