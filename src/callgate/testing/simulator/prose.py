"""Sentences for the simulated answers."""

from __future__ import annotations

import random

__all__ = ["write"]

_SENTENCES = [
    sentence.split(" ")
    for sentence in (
        "That depends on what you want to do with it.",
        "The short answer is yes, with two exceptions worth knowing.",
        "A river carries more water in spring, when the snow in the hills melts.",
        "Most of the cost comes from the last few steps, not from the first.",
        "It was first described in the nineteenth century and has been refined since.",
        "In practice, people choose the simpler of the two and are content.",
        "The Moon is about 384,400 kilometres away, a little over one light second.",
        "Water boils at a lower temperature on a mountain because the air presses less.",
        "If you are unsure, start with a small sample and look at the results.",
        "Bread rises because yeast turns sugar into gas, which the dough holds.",
        "There is no single rule, but three questions settle nearly every case.",
        "The larger the town, the longer the way to its edge.",
        "Both methods give the same result; they differ in how long they take.",
        "A good summary names what changed, why it matters and what comes next.",
        "Light from the Sun needs eight minutes and twenty seconds to reach us.",
        "The second reading is usually where the mistake is found.",
        "Copper conducts heat well, which is why pans are often lined with it.",
        "You can leave out the middle part without losing the argument.",
        "Birds that stay all winter have to find food in short days.",
        "The figures agree with those of last year to within one percent.",
        "A map is useful because of all the things it leaves out.",
        "Older buildings stay cool in summer thanks to their thick walls.",
        "Ask for an example first, then for the reason behind it.",
        "The train takes four hours, the aeroplane one, and the bus a whole day.",
        "Salt lowers the freezing point of water by a few degrees.",
        "It is easier to keep a promise that has been written down.",
        "Two of the three samples showed the effect clearly.",
        "The word came into the language with sailors and merchants.",
        "Nothing in the text suggests that the order matters.",
        "What looks like an exception turns out to follow the same rule.",
        "The best time to plant most trees is late autumn.",
        "Overall the sentiment is positive, although the delivery was late.",
    )
]


def write(rng: random.Random, words: int) -> str:
    """Text of exactly `words` words.

    >>> len(write(random.Random(1), 40).split())
    40
    """
    text: list[str] = []
    pick, count = rng.random, len(_SENTENCES)
    while len(text) < words:
        text += _SENTENCES[int(pick() * count)]
    return " ".join(text[:words])
