"""Captions: prompts in many wordings, full captions in a small grammar, and the reader of both."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Final, TypeVar

import numpy as np

from codi.worlds.sounding_shapes.lexicon import (
    COLOUR_WORDS,
    MOVES,
    MOVING,
    NOUNS,
    PACES,
    RHYTHMS,
    SIZE_WORDS,
    WORDS,
    Wording,
)
from codi.worlds.sounding_shapes.scene import Scene

T = TypeVar("T")
Named = Mapping[str, str]
"""The factors that a caption names, with their values."""

THINGS: Final = ("something", "a shape", "an object", "a thing", "something")
BARE_THINGS: Final = ("shape", "object", "thing")
PREFIXES: Final = (
    *("", "", "", "", "a photo of ", "a picture of ", "an image of ", "a video of ", "a clip of "),
    *("a video showing ", "an animation of ", "the sound of ", "a recording of ", "here is ", "show me "),
)
SCENES: Final = ("something", "a scene", "anything", "a picture of something", "a video of something", "some object")

CANONICAL: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "motion": {
        "bounce": ("bouncing", "bounces"),
        "slide": ("sliding", "slides"),
        "pulse": ("pulsing", "pulses"),
        "still": ("standing still", "stands still"),
    },
    "tempo": {
        "slow": ("slowly", "at a slow tempo"),
        "medium": ("steadily", "at a medium tempo"),
        "fast": ("quickly", "at a fast tempo"),
    },
}


def caption(scene: Scene, named: Collection[str], rng: np.random.Generator, wording: Wording = "train") -> str:
    """A prompt that names exactly the factors in `named`, in one of many wordings.

    Args:
        scene: what it is about.
        named: names of factors; one that does not apply (the tempo of a still scene) is left out.
        rng: source of all randomness.
        wording: which synonyms to use; those held out are never in the training captions.
    """
    values = {name: value for name, value in scene.factors.items() if name in named}
    if not values:
        return _pick(rng, SCENES)
    build = _pick(rng, [t for t in TEMPLATES if t is not _finite or "motion" in values])
    text = build(values, rng, wording)
    return text if build in BARE else _pick(rng, PREFIXES) + text


def full_caption(scene: Scene, rng: np.random.Generator, canonical: bool = True) -> str:
    """A caption that names every factor that applies.

    Args:
        scene: what it is about.
        rng: picks the phrasing.
        canonical: use the few phrasings and words that generated text is trained on; otherwise any wording.
    """
    if not canonical:
        return caption(scene, scene.factors, rng)
    f = scene.factors
    thing = f"{f['size']} {f['colour']} {f['shape']}"
    doing, does = CANONICAL["motion"][f["motion"]]
    adverb, phrase = CANONICAL["tempo"][f["tempo"]] if "tempo" in f else ("", "")
    pace = _pick(rng, (adverb, phrase))
    pattern = _pick(rng, ("a {thing} {doing} {pace}", "a {thing} {does} {pace}", "a {thing} is {doing} {pace}"))
    return pattern.format(thing=thing, doing=doing, does=does, pace=pace).strip()


def read_caption(text: str) -> dict[str, str]:
    """The factors that a text names, as a dict of factor to value.

    Longer expressions win over the words inside them. A factor that is given two values counts as not named.
    """
    found: dict[str, set[str]] = {}
    for match in _pattern().finditer(text.lower()):
        factor, value = _meanings()[match.group(0)]
        found.setdefault(factor, set()).add(value)
    return {factor: values.pop() for factor, values in found.items() if len(values) == 1}


@cache
def _meanings() -> dict[str, tuple[str, str]]:
    """Every expression of the lexicon, with the factor and the value that it means."""
    meanings = {}
    for factor, tables in WORDS.items():
        for value, words in ((v, w) for table in tables for v, w in table.items()):
            meanings.update({word: (factor, value) for split in words.values() for word in split})
    return meanings


@cache
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(_meanings(), key=len, reverse=True)
    return re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![\w-])")


def _plain(values: Named, rng: np.random.Generator, wording: Wording) -> str:
    """'a small red ball bouncing quickly'."""
    return f"{_noun_phrase(values, rng, wording)} {_doing(values, rng, wording)}".strip()


def _finite(values: Named, rng: np.random.Generator, wording: Wording) -> str:
    """'a small red ball bounces quickly'."""
    does = _word(MOVES[values["motion"]], rng, wording)
    return f"{_noun_phrase(values, rng, wording)} {does} {_pace(values, rng, wording)}".strip()


def _clause(values: Named, rng: np.random.Generator, wording: Wording) -> str:
    """'a ball that is small and red and bouncing quickly'."""
    noun = _with_article(_noun(values, rng, wording))
    told = _adjectives(values, rng, wording) + [d for d in (_doing(values, rng, wording),) if d]
    return f"{noun} that is {' and '.join(told)}" if told else noun


def _movement_first(values: Named, rng: np.random.Generator, wording: Wording) -> str:
    """'bouncing quickly, a small red ball'."""
    doing = _doing(values, rng, wording)
    thing = _noun_phrase(values, rng, wording)
    return f"{doing}, {thing}" if doing else thing


def _apposition(values: Named, rng: np.random.Generator, wording: Wording) -> str:
    """'a ball, red, small, bouncing quickly'."""
    doing = _doing(values, rng, wording)
    parts = [_with_article(_noun(values, rng, wording)), *_adjectives(values, rng, wording), doing]
    return ", ".join(part for part in parts if part)


def _list(values: Named, rng: np.random.Generator, wording: Wording) -> str:
    """'red, quick, ball, small': key words in any order."""
    tables = {"shape": NOUNS, "colour": COLOUR_WORDS, "size": SIZE_WORDS, "motion": MOVING, "tempo": RHYTHMS}
    words = [_word(tables[name][value], rng, wording) for name, value in values.items()]
    return ", ".join(words[int(i)] for i in rng.permutation(len(words)))


TEMPLATES: Final[tuple[Callable[[Named, np.random.Generator, Wording], str], ...]] = (
    *(_plain, _plain, _plain, _finite, _finite),
    *(_clause, _movement_first, _apposition, _list),
)


BARE: Final = (_finite, _movement_first, _list)
"""Templates that take no prefix."""


def _noun(values: Named, rng: np.random.Generator, wording: Wording) -> str:
    return _word(NOUNS[values["shape"]], rng, wording) if "shape" in values else _pick(rng, BARE_THINGS)


def _adjectives(values: Named, rng: np.random.Generator, wording: Wording) -> list[str]:
    tables = {"size": SIZE_WORDS, "colour": COLOUR_WORDS}
    words = [_word(tables[name][values[name]], rng, wording) for name in tables if name in values]
    return words[::-1] if rng.random() < 0.2 else words


def _noun_phrase(values: Named, rng: np.random.Generator, wording: Wording) -> str:
    adjectives = _adjectives(values, rng, wording)
    if "shape" not in values and not adjectives:
        return _pick(rng, THINGS)
    return _with_article(" ".join([*adjectives, _noun(values, rng, wording)]))


def _doing(values: Named, rng: np.random.Generator, wording: Wording) -> str:
    """What it is doing and how fast, as far as named."""
    pace = _pace(values, rng, wording)
    if "motion" not in values:
        return pace
    doing = _word(MOVING[values["motion"]], rng, wording)
    return f"{pace} {doing}" if pace.endswith("ly") and rng.random() < 0.25 else f"{doing} {pace}".strip()


def _pace(values: Named, rng: np.random.Generator, wording: Wording) -> str:
    if "tempo" not in values:
        return ""
    if "motion" not in values or rng.random() < 0.15:
        rhythm = _with_article(_word(RHYTHMS[values["tempo"]], rng, wording))
        return f"{_pick(rng, ('with', 'in', 'to'))} {rhythm} {_pick(rng, ('rhythm', 'beat'))}"
    return _word(PACES[values["tempo"]], rng, wording)


def _with_article(noun: str) -> str:
    if noun[0] in "aeiou" and not noun.startswith("u"):
        return f"an {noun}"
    return f"an {noun}" if noun.startswith("un") else f"a {noun}"


def _word(words: Mapping[Wording, tuple[str, ...]], rng: np.random.Generator, wording: Wording) -> str:
    return _pick(rng, words[wording])


def _pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]
