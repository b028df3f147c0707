"""One attempt: when it was sent, as far as that is known."""

from __future__ import annotations

from callgate.call.attempt import Attempt
from callgate.errors import APIConnectionError


class Permit:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def hold(self) -> None:
        self.heard.append("hold")

    def sent(self) -> None:
        self.heard.append("sent")


def test_an_attempt_whose_connection_is_opened_first_is_sent_when_that_is_done() -> None:
    permit = Permit()
    attempt = Attempt("openai", 1.0, permit=permit)
    assert attempt.sent_at == 1.0
    attempt.hold()
    assert attempt.sent_at is None
    attempt.sent(1.5)
    assert (attempt.started_at, attempt.sent_at) == (1.0, 1.5)
    assert permit.heard == ["hold", "sent"]


def test_an_attempt_without_a_permit_keeps_its_times_all_the_same() -> None:
    attempt = Attempt("openai", 1.0)
    attempt.hold()
    attempt.fail(APIConnectionError("refused", surely_unsent=True), 2.0)
    assert attempt.sent_at is None
    attempt.sent(3.0)
    assert attempt.sent_at == 3.0
