"""Errors of the transport: which may be retried, which were surely not sent, and what they show."""

from __future__ import annotations

import ssl

import pytest

from callgate.errors import APIClientError
from callgate.transport.failures import broken, no_connection, shut, too_large, too_late, unreadable

ORIGIN = "https://api.example.com:443"
REFUSED = ConnectionRefusedError(111, "Connection refused")
RESET = ConnectionResetError(104, "reset")


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("self-signed certificate")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "retryable", "unsent"),
    [
        (no_connection(ORIGIN, REFUSED), True, True),
        (no_connection(ORIGIN, untrusted()), False, True),
        (broken(ORIGIN, None, begun=False), True, False),
        (broken(ORIGIN, RESET, begun=True), True, False),
        (shut(ORIGIN), False, False),
        (shut(ORIGIN, sent=False), False, True),
        (too_late(ORIGIN, 5.0, connected=False), True, True),
        (too_late(ORIGIN, 5.0, connected=True), True, False),
        (unreadable(ORIGIN, "not HTTP"), True, False),
        (too_large(1000, ORIGIN), False, False),
    ],
)
def test_an_error_knows_whether_to_retry_and_whether_it_was_sent(
    error: APIClientError, retryable: bool, unsent: bool
) -> None:
    assert (error.retryable, error.surely_unsent) == (retryable, unsent)
    assert ORIGIN in str(error)


def test_messages_have_the_system_s_reason() -> None:
    assert "Connection refused" in str(no_connection(ORIGIN, REFUSED))
    assert "in the middle of its answer: reset" in str(broken(ORIGIN, RESET, begun=True))
    assert "before its answer: closed by the other side" in str(broken(ORIGIN, None, begun=False))


def test_an_untrusted_certificate_names_the_setting() -> None:
    error = no_connection(ORIGIN, untrusted())
    assert error.setting == "verify"


def test_what_was_sent_back_is_cut_to_two_hundred_characters() -> None:
    assert len(str(unreadable(ORIGIN, "x" * 10_000))) < 300
