"""The nearest entry is the one a person would call the nearest."""

from __future__ import annotations

from typing import Any

from callgate.policies.cache.explain import explain
from callgate.policies.cache.key import CacheKey, make_key


def key(text: str, *, origin: str = "https://a", **more: Any) -> CacheKey:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]
    made = make_key(origin, "chat", {"model": "m", "messages": messages, **more})
    assert made is not None
    return made


def nearest(asked: CacheKey, *kept: CacheKey) -> list[tuple[str, Any, Any]]:
    explanation = explain(asked, [(each.request, None) for each in kept])
    assert explanation.outcome == "miss"
    return [(each.where, each.asked, each.kept) for each in explanation.differences]


def test_a_setting_that_was_changed_is_named() -> None:
    others = [key(f"another question {n}", temperature=1) for n in range(50)]
    assert nearest(key("How far is the moon?", temperature=0), *others, key("How far is the moon?")) == [
        ("request.temperature", 0, None)
    ]


def test_among_other_texts_the_one_with_the_most_in_common() -> None:
    kept = [key("Name a river."), key("How far is the sun?"), key("What is a quark?")]
    assert nearest(key("How far is the moon?"), *kept) == [
        ("request.messages[1].content", "How far is the moon?", "How far is the sun?")
    ]


def test_another_origin_and_another_sample_are_differences() -> None:
    assert nearest(key("Hi"), key("Hi", origin="https://b")) == [("origin", "https://a", "https://b")]


def test_the_newest_of_equally_near_ones() -> None:
    assert nearest(key("Hi", seed=3), key("Hi", seed=2), key("Hi", seed=1)) == [("request.seed", 3, 2)]


def test_very_long_texts_are_not_compared_letter_by_letter() -> None:
    ((where, _, _),) = nearest(key("x" * 30_000), key("y" * 30_000))
    assert where == "request.messages[1].content"


def test_entries_that_cannot_be_read_and_empty_caches() -> None:
    assert explain(key("Hi"), [(b"{", None)]).nearest is None
    assert explain(key("Hi"), []).differences == ()


def test_a_conversation_of_instructions_alone_is_compared_from_its_end() -> None:
    def alone(text: str) -> CacheKey:
        made = make_key(
            "https://a", "chat", {"model": "m", "messages": [{"role": "system", "content": text}]}
        )
        assert made is not None
        return made

    assert nearest(alone("Be kind."), alone("Be brief.")) == [
        ("request.messages[0].content", "Be kind.", "Be brief.")
    ]


def test_a_system_prompt_more_or_less_does_not_hide_the_same_question() -> None:
    def plain(text: str) -> CacheKey:
        made = make_key("https://a", "chat", {"model": "m", "messages": [{"role": "user", "content": text}]})
        assert made is not None
        return made

    with_prompt = [key(f"What is {n} plus {n}?") for n in range(200)]
    without = [plain(f"What is {n} plus {n}?") for n in range(200)]
    assert nearest(with_prompt[0], *reversed(without)) == [
        ("request.messages[0].content", "Be kind.", None),
        ("request.messages[0].role", "system", None),
    ]
    assert nearest(without[0], *reversed(with_prompt)) == [
        ("request.messages[0].content", None, "Be kind."),
        ("request.messages[0].role", None, "system"),
    ]
