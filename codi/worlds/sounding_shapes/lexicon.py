"""The words for each value of each factor, split into those for training and those held out."""

from __future__ import annotations

from typing import Final, Literal

Wording = Literal["train", "held_out"]

_Words = dict[str, dict[Wording, tuple[str, ...]]]


def _words(train: str, held_out: str) -> dict[Wording, tuple[str, ...]]:
    return {"train": tuple(train.split(", ")), "held_out": tuple(held_out.split(", "))}


NOUNS: Final[_Words] = {
    "circle": _words("circle, disc, ball, circle, round shape, round blob", "disk, orb, dot"),
    "square": _words("square, box, block, square, square shape, four-sided shape", "tile, cube, square block"),
    "triangle": _words("triangle, triangle, wedge, pyramid, triangular shape", "three-sided shape, cone, trigon"),
    "star": _words("star, star, star shape, five-pointed star, starry shape", "pointed star, starfish, starburst"),
    "heart": _words("heart, heart, heart shape, love heart, valentine", "valentine heart, heart symbol, sweetheart"),
    "diamond": _words("diamond, diamond, rhombus, lozenge, diamond shape", "kite, gem, rhomboid"),
}
COLOUR_WORDS: Final[_Words] = {
    "red": _words("red, red, crimson, scarlet, bright red", "ruby, cherry red, vermilion"),
    "orange": _words("orange, orange, tangerine, amber, bright orange", "pumpkin, apricot, carrot orange"),
    "yellow": _words("yellow, yellow, golden, lemon, bright yellow", "canary, sunny yellow, blond"),
    "green": _words("green, green, emerald, lime, grass green", "jade, leaf green, mint"),
    "blue": _words("blue, blue, azure, navy, sky blue", "cobalt, sapphire, ocean blue"),
    "purple": _words("purple, purple, violet, lilac, deep purple", "plum, lavender, mauve"),
}
SIZE_WORDS: Final[_Words] = {
    "small": _words("small, small, little, tiny", "mini, petite, miniature"),
    "large": _words("large, large, big, huge", "giant, massive, enormous"),
}
MOVING: Final[_Words] = {
    "bounce": _words(
        "bouncing, bouncing, hopping, jumping up and down, bouncing on the floor, hitting the floor",
        "springing up and down, dropping to the ground, bobbing up and down",
    ),
    "slide": _words(
        "sliding, sliding, gliding, sliding from side to side, moving left and right, hitting the walls",
        "shuttling, drifting from wall to wall, going back and forth",
    ),
    "pulse": _words(
        "pulsing, pulsing, throbbing, swelling, growing and shrinking",
        "pulsating, inflating and deflating, getting bigger and smaller",
    ),
    "still": _words(
        "standing still, standing still, resting, not moving, staying in place, sitting motionless",
        "staying put, frozen in place, lying idle",
    ),
}
MOVES: Final[_Words] = {
    "bounce": _words(
        "bounces, bounces, hops, jumps up and down, hits the floor", "springs up and down, bobs up and down"
    ),
    "slide": _words(
        "slides, slides, glides, slides from side to side, moves left and right", "shuttles, goes back and forth"
    ),
    "pulse": _words("pulses, pulses, throbs, swells, grows and shrinks", "pulsates, gets bigger and smaller"),
    "still": _words("stands still, stands still, rests, does not move, stays in place", "stays put, lies idle"),
}
PACES: Final[_Words] = {
    "slow": _words(
        "slowly, slowly, at a slow tempo, at a slow pace, in no hurry", "lazily, unhurriedly, at a leisurely pace"
    ),
    "medium": _words(
        "steadily, steadily, at a medium tempo, at a moderate pace, moderately",
        "at a walking pace, at an average speed, at an even pace",
    ),
    "fast": _words("quickly, quickly, at a fast tempo, rapidly, at a fast pace", "swiftly, briskly, at high speed"),
}
RHYTHMS: Final[_Words] = {
    "slow": _words("slow, slow, unhurried", "leisurely, sluggish"),
    "medium": _words("medium, steady, moderate", "average, even"),
    "fast": _words("fast, quick, rapid", "brisk, speedy"),
}

WORDS: Final[dict[str, tuple[_Words, ...]]] = {
    "shape": (NOUNS,),
    "colour": (COLOUR_WORDS,),
    "size": (SIZE_WORDS,),
    "motion": (MOVING, MOVES),
    "tempo": (PACES, RHYTHMS),
}
"""All words of a factor, which a reader of captions has to know."""
