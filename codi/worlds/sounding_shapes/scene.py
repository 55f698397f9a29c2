"""A scene: its factors, its event times, and everything that may vary without changing a factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import numpy as np

from codi.types import InputError
from codi.worlds.sounding_shapes.factors import COLOURS, FACTORS, FPS, FRAMES, HELD_OUT, INTERVALS, SHAPES

T = TypeVar("T")
Split = Literal["train", "held_out", "all"]

BACKGROUNDS: Final = (*("flat",) * 3, *("gradient",) * 3, "clouds", "stripes", "checks", "spots")
TEXTURES: Final = (*("plain",) * 5, "bands", "dots", "speckle")
HUES: Final[dict[str, tuple[float, float]]] = {
    "red": (-8.0, 6.0),
    "orange": (22.0, 33.0),
    "yellow": (50.0, 60.0),
    "green": (100.0, 145.0),
    "blue": (205.0, 235.0),
    "purple": (268.0, 292.0),
}
RADII: Final[dict[str, tuple[float, float]]] = {"small": (7.5, 9.0), "large": (12.0, 14.0)}


@dataclass(frozen=True)
class Look:
    """What varies in the picture.

    Attributes:
        hue: degrees; saturation, value: 0 to 1.
        radius: pixels at rest.
        place: where the object is on its free axes, each 0 to 1.
        margin: pixels between the picture's border and the floor or the walls.
        swell: radius at the peak of a pulse, in units of the radius at rest.
        first_wall: 0 where the first event of a slide is at the left wall, 1 at the right.
        background: one of BACKGROUNDS, with its grey level, contrast, tint (RGB offsets), angle and scale.
        outline: width in pixels, 0 for none; outline_level: its grey level.
        shading: strength of the light, 0 to 1; light: its direction in radians.
        texture: one of TEXTURES, with its strength.
        noise: standard deviation of the pixel noise in grey levels.
    """

    hue: float
    saturation: float
    value: float
    radius: float
    place: tuple[float, float]
    margin: float
    swell: float
    first_wall: int
    background: str
    level: float
    contrast: float
    tint: tuple[float, float, float]
    angle: float
    scale: float
    outline: float
    outline_level: float
    shading: float
    light: float
    texture: str
    texture_strength: float
    noise: float


@dataclass(frozen=True)
class Voice:
    """What varies in the sound.

    Attributes:
        detune: semitones, within a fifth of one.
        decay: seconds in which the fundamental falls to 1/e.
        gain: peak amplitude of a hit.
        accents: gain of each event relative to `gain`.
        rhythm: strength of what marks the motion, around 1.
        brightness: multiplies the upper partials, around 1.
        noise: standard deviation of the noise floor.
    """

    detune: float
    decay: float
    gain: float
    accents: tuple[float, ...]
    rhythm: float
    brightness: float
    noise: float


@dataclass(frozen=True)
class Scene:
    """One scene of the world; all renderings are functions of it alone.

    Attributes:
        shape, colour, size, motion: values of FACTORS.
        tempo: a value of FACTORS, None where the motion is "still".
        event_frames: frames of the clip at which events happen, ascending, at least one.
        before, after: the frames of the last event before the clip (< 0) and of the first one after it.
        look, voice: what may vary.
        seed: of the noise, the background and the textures.
    """

    shape: str
    colour: str
    size: str
    motion: str
    tempo: str | None
    event_frames: tuple[int, ...]
    before: int
    after: int
    look: Look
    voice: Voice
    seed: int

    @property
    def factors(self) -> dict[str, str]:
        """The factors that apply: a still scene has no tempo."""
        values = {name: getattr(self, name) for name in FACTORS}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def event_times(self) -> np.ndarray:
        """Event times in seconds, float64 [events]."""
        return np.asarray(self.event_frames, dtype=np.float64) / FPS


def sample_scene(rng: np.random.Generator, split: Split = "train", **fixed: str) -> Scene:
    """A random scene.

    Args:
        rng: source of all randomness.
        split: "train" draws no pair of HELD_OUT, "held_out" draws those only, "all" draws any pair.
        fixed: factors to hold, such as colour="red".

    Raises:
        InputError: a factor or value that the world does not have, a tempo for a still scene, or a pair
            that the split does not hold.
    """
    _check(fixed)
    shape, colour = _pair(rng, split, fixed)
    size = fixed.get("size") or _pick(rng, FACTORS["size"])
    motions = [m for m in FACTORS["motion"] if "tempo" not in fixed or m != "still"]
    motion = fixed.get("motion") or _pick(rng, motions)
    tempo = None if motion == "still" else fixed.get("tempo") or _pick(rng, FACTORS["tempo"])
    before, events, after = _events(rng, tempo)
    look, voice = _look(rng, colour, size), _voice(rng, size, len(events))
    seed = int(rng.integers(2**31))
    return Scene(shape, colour, size, motion, tempo, events, before, after, look, voice, seed)


def _check(fixed: dict[str, str]) -> None:
    for name, value in fixed.items():
        if name not in FACTORS:
            raise InputError(name, "no such factor", f"the factors are {', '.join(FACTORS)}")
        if value not in FACTORS[name]:
            raise InputError(name, f"{value!r} is not one of its values", f"use one of {', '.join(FACTORS[name])}")
    if fixed.get("motion") == "still" and "tempo" in fixed:
        raise InputError("tempo", "a still scene has none", "drop it or choose another motion")


def _pair(rng: np.random.Generator, split: Split, fixed: dict[str, str]) -> tuple[str, str]:
    """A (shape, colour) pair of the split that agrees with the fixed factors."""
    shapes = [fixed["shape"]] if "shape" in fixed else SHAPES
    colours = [fixed["colour"]] if "colour" in fixed else COLOURS
    wanted = {"train": (False,), "held_out": (True,), "all": (False, True)}[split]
    pairs = [(s, c) for s in shapes for c in colours if ((s, c) in HELD_OUT) in wanted]
    if not pairs:
        raise InputError("split", f"{split!r} holds no such shape and colour", "use another pair or split='all'")
    return pairs[int(rng.integers(len(pairs)))]


def _events(rng: np.random.Generator, tempo: str | None) -> tuple[int, tuple[int, ...], int]:
    """Frames of the event before the clip, of those in it, and of the one after it.

    Intervals are drawn one by one; the first event is uniform in the first interval.
    """
    if tempo is None:
        return -FRAMES, (0,), 2 * FRAMES
    low, high = INTERVALS[tempo]
    interval = int(rng.integers(low, high + 1))
    first = int(rng.integers(interval))
    frames = [first - interval, first]
    while frames[-1] < FRAMES:
        frames.append(frames[-1] + int(rng.integers(low, high + 1)))
    return frames[0], tuple(frames[1:-1]), frames[-1]


def _look(rng: np.random.Generator, colour: str, size: str) -> Look:
    return Look(
        hue=_between(rng, *HUES[colour]),
        saturation=_between(rng, 0.78, 1.0),
        value=_between(rng, 0.8, 1.0),
        radius=_between(rng, *RADII[size]),
        place=(_between(rng, 0, 1), _between(rng, 0, 1)),
        margin=_between(rng, 1.5, 5.0),
        swell=_between(rng, 1.22, 1.30),
        first_wall=int(rng.integers(2)),
        background=_pick(rng, BACKGROUNDS),
        level=_between(rng, 0.12, 0.88),
        contrast=_between(rng, 0.04, 0.16),
        tint=(_between(rng, -0.03, 0.03), _between(rng, -0.03, 0.03), _between(rng, -0.03, 0.03)),
        angle=_between(rng, 0, 2 * np.pi),
        scale=_between(rng, 0, 1),
        outline=_pick(rng, (0.0, 0.0, 1.2, 1.8)),
        outline_level=_pick(rng, (0.05, 0.97)),
        shading=_between(rng, 0.0, 0.3),
        light=_between(rng, -np.pi, 0.0),
        texture=_pick(rng, TEXTURES),
        texture_strength=_between(rng, 0.08, 0.2),
        noise=_between(rng, 0.0, 2.5),
    )


def _voice(rng: np.random.Generator, size: str, events: int) -> Voice:
    small = size == "small"
    return Voice(
        detune=_between(rng, -0.2, 0.2),
        decay=_between(rng, 0.09, 0.12) if small else _between(rng, 0.30, 0.42),
        gain=_between(rng, 0.16, 0.24) if small else _between(rng, 0.40, 0.55),
        accents=tuple(_between(rng, 0.85, 1.0) for _ in range(events)),
        rhythm=_between(rng, 0.85, 1.15),
        brightness=_between(rng, 0.85, 1.15),
        noise=10 ** _between(rng, -3.7, -2.9),
    )


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(low + (high - low) * rng.random())


def _pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]
