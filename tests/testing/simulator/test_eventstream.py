"""Frames of Amazon's event stream, read back by botocore."""

from __future__ import annotations

from botocore.eventstream import EventStreamBuffer

from callgate.testing.simulator.eventstream import frame


def test_botocore_reads_headers_and_payloads():
    buffer = EventStreamBuffer()
    buffer.add_data(frame({":message-type": "event", ":event-type": "größe"}, b"{}") + frame({}, b"x" * 1000))
    first, second = buffer
    assert first.headers == {":message-type": "event", ":event-type": "größe"}
    assert first.payload == b"{}"
    assert (second.headers, second.payload) == ({}, b"x" * 1000)
