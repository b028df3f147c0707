"""What a Claude model can, told from its name, whatever a host puts around it."""

from __future__ import annotations

import pytest

from callgate.providers.anthropic.models import claude_version, takes_output_format, thinks_adaptively


@pytest.mark.parametrize(
    ("name", "version", "held", "adaptive"),
    [
        ("claude-2.1", (2, 1), False, False),
        ("claude-instant-1.2", (1, 2), False, False),
        ("claude-3-haiku-20240307", (3, 0), False, False),
        ("claude-3-5-sonnet-20241022", (3, 5), False, False),
        ("claude-3-7-sonnet-latest", (3, 7), False, False),
        ("claude-sonnet-4-20250514", (4, 0), False, False),
        ("claude-opus-4-1-20250805", (4, 1), False, False),
        ("claude-haiku-4-5-20251001", (4, 5), True, False),
        ("claude-sonnet-4-5@20250929", (4, 5), True, False),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", (4, 5), True, False),
        ("anthropic.claude-opus-4-6-v1", (4, 6), True, True),
        ("anthropic/claude-4.6-opus", (4, 6), True, True),
        ("claude-opus-4-7", (4, 7), True, True),
        ("claude-sonnet-5", (5, 0), True, True),
        ("claude-fable-5-1", (5, 1), True, True),
        ("claude-opus-10-2", (10, 2), True, True),
        ("claude-mythos-preview", None, True, True),
        ("deepseek-chat-4-7", None, False, False),
        ("smollm2", None, False, False),
    ],
)
def test_abilities_are_read_from_the_name(
    name: str, version: tuple[int, int] | None, held: bool, adaptive: bool
) -> None:
    assert claude_version(name) == version
    assert takes_output_format(name) == held
    assert thinks_adaptively(name) == adaptive
