"""Questions about a caption's factors, and changes to them, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np

from codi.types import InputError
from codi.worlds.sounding_shapes.captions import full_caption, read_caption
from codi.worlds.sounding_shapes.factors import FACTORS
from codi.worlds.sounding_shapes.scene import sample_scene

ASKED: Final[dict[str, str]] = {
    "shape": r"shape|form|figure|what is (it|this|that)|what('s| is) in",
    "colour": r"colou?r|hue|pitch|note",
    "size": r"size|how (big|small|large)",
    "motion": r"motion|mov\w+|move|doing|does it do|happen\w*",
    "tempo": r"tempo|speed|pace|how (fast|slow|quick\w*|often)|rhythm",
}
"""By factor, the words that ask for it."""

STEMS: Final[dict[str, dict[str, str]]] = {
    "size": {"small": r"smaller|tinier|shrink it|small|tiny|little", "large": r"bigger|larger|big|large|huge"},
    "motion": {
        "bounce": r"bounc\w+|hop\w*|jump\w*",
        "slide": r"slid\w+|glid\w+|drift\w*",
        "pulse": r"puls\w+|throb\w*|beat\w*",
        "still": r"still|stop\w*|rest\w*|motionless|stand\w*",
    },
    "tempo": {"slow": r"slow\w*", "medium": r"medium|moderate\w*|steadily", "fast": r"fast\w*|quick\w*|rapid\w*"},
}
"""Words of commands, which captions do not use."""


def facts_of(caption: str) -> dict[str, str]:
    """The factors that a caption names."""
    return read_caption(caption)


def answer(caption: str, question: str) -> dict[str, str]:
    """The factors that a question asks for, as a caption tells them; all where it asks for none that is known."""
    facts = facts_of(caption)
    asked = [name for name, words in ASKED.items() if re.search(rf"\b({words})\b", question.lower())]
    return {name: facts[name] for name in asked or facts if name in facts}


def change_of(text: str) -> dict[str, str]:
    """The factors that a command such as "make it blue" sets."""
    found = dict(read_caption(text))
    for name, values in STEMS.items():
        named = [value for value, words in values.items() if re.search(rf"\b({words})\b", text.lower())]
        if name not in found and len(named) == 1:
            found[name] = named[0]
    return found


def moves(text: str) -> bool:
    """Whether a command changes what happens when, and not only what is seen or heard."""
    return bool({"motion", "tempo"} & change_of(text).keys())


def changed(caption: str, text: str, asked: str = "") -> str:
    """A full caption of the same scene with what a command changes in it.

    Args:
        caption: what is seen of the scene.
        text: the command.
        asked: what the scene was made from; where it names a factor, it is believed before the caption.

    Raises:
        InputError: a command that names no factor of the world.
    """
    change = change_of(text)
    if not change:
        values = "; ".join(f"{name}: {', '.join(values)}" for name, values in FACTORS.items())
        raise InputError(f"change {text!r}", "names nothing that can be changed", f"name one of {values}")
    return told({**facts_of(caption), **facts_of(asked), **change}, keep=change)


def told(facts: Mapping[str, str], keep: Mapping[str, str]) -> str:
    """A caption of these factors; a still scene has no tempo, unless the command named one and set it moving."""
    fixed = dict(facts)
    if fixed.get("motion") == "still":
        fixed.pop("motion" if "tempo" in keep and "motion" not in keep else "tempo", None)
    return full_caption(sample_scene(np.random.default_rng(0), "all", **fixed), np.random.default_rng(0))
