"""A provider's long message was once cut at its end in the middle of the key that it quoted."""

from __future__ import annotations

import pytest

from callgate.errors import ServerError
from callgate.providers.canonical.errors import build_error
from callgate.transport.redact import redact, redact_error

KEY = "sk-canary-9f3b7c51"


@pytest.mark.parametrize("kept", range(8, len(KEY) + 1))
def test_a_key_cut_by_a_shortened_message_is_masked(kept: int) -> None:
    # The dialects keep 1,000 characters: so many of them are the key's.
    error = build_error(
        ServerError, None, "x" * (1_000 - kept) + KEY + " is refused", content=None, headers={}
    )
    assert str(error).endswith(KEY[:kept] + "...")
    redact_error(error, [KEY])
    assert str(error).endswith("***...")
    assert KEY[:8] not in str(error)


@pytest.mark.parametrize(
    "text", ["", "sk-cana", "a sentence that ends in sk-", "sk-canary-9f3 in the middle"]
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert redact(text, [KEY]) == text
