"""What another library logs, with the secrets taken out."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from callgate.transport.redact import LogMask

CANARY = "sk-canary-5f3a"
MASK = LogMask([CANARY, "k"])


def heard(msg: str, *args: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": msg, "args": args})


@pytest.mark.parametrize("said", [CANARY, [CANARY], {"x-echo": CANARY}, CANARY.encode(), ValueError(CANARY)])
def test_a_secret_is_masked_in_whatever_it_is_part_of(said: object) -> None:
    record = heard("it said %s", said)
    assert MASK.filter(record)
    assert CANARY not in record.getMessage()
    assert "***" in record.getMessage()


def test_what_holds_no_secret_is_left_as_it_is() -> None:
    record = heard("%s took %d s", "k for key", 3)
    assert MASK.filter(record)
    assert (record.msg, record.args) == ("%s took %d s", ("k for key", 3))


def test_a_record_that_cannot_be_formatted_is_dropped_without_an_error() -> None:
    assert not MASK.filter(heard("%d", CANARY))
