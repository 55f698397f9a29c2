"""Prompts for the cells of an evaluation, drawn from scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from codi.evaluation.faces import FACES
from codi.types import At
from codi.worlds.sounding_shapes.factors import FACTORS
from codi.worlds.sounding_shapes.scene import Scene, Split, sample_scene

Naming = Callable[[np.random.Generator], set[str]]
"""Draws the factors that a text names."""


@dataclass(frozen=True)
class Prompt:
    """What one sample is asked for.

    Attributes:
        inputs: medium per input modality.
        named: the factors that the inputs tell, all inputs together.
        group: number of the prompt; samples of one group have the same inputs.
        given: what stands on the timeline, by modality.
    """

    inputs: Mapping[str, Any]
    named: Mapping[str, str]
    group: int
    given: Mapping[str, Any] = field(default_factory=dict)


def _some(rng: np.random.Generator) -> set[str]:
    """Each factor with probability 0.6, at least one."""
    return {n for n in FACTORS if rng.random() < 0.6} or {str(rng.choice(list(FACTORS)))}


def _timed(rng: np.random.Generator) -> set[str]:
    """Motion and tempo, and some of the rest, but never all of it."""
    rest = [n for n in ("shape", "colour", "size") if rng.random() < 0.5]
    return {"motion", "tempo", *(rest if len(rest) < 3 else rest[1:])}


def _little(rng: np.random.Generator) -> set[str]:
    """One factor of what the object is: the outputs have to settle the rest among themselves."""
    return {("shape", "colour", "size")[int(rng.integers(3))]}


def _looks(rng: np.random.Generator) -> set[str]:
    """What the object is and does, but its colour: that, the tempo and the phase are left open."""
    return {"shape", "size", "motion"}


NAMINGS: Final[dict[str, Naming]] = {
    "all": lambda rng: set(FACTORS),
    "some": _some,
    "timed": _timed,
    "little": _little,
    "looks": _looks,
    "nothing": lambda rng: set(),
    "pair": lambda rng: {"shape", "colour"},
    "movement": lambda rng: {"motion", "tempo"},
}


def draw_prompts(inputs: Sequence[str], naming: str, split: Split, count: int, repeats: int, seed: int) -> list[Prompt]:
    """`count` prompts of which each `repeats` in a row are the same one.

    Args:
        inputs: modalities to prompt with.
        naming: key of NAMINGS, for the text among them.
        split: of the scenes' (shape, colour) pairs.
        count: how many in all.
        repeats: how many of each.
        seed: the same seed gives the same prompts.
    """
    prompts: list[Prompt] = []
    for group in range(-(-count // repeats)):
        rng = np.random.default_rng((seed, group))
        prompts += [_prompt(inputs, NAMINGS[naming](rng), split, rng, group)] * repeats
    return prompts[:count]


def with_givens(
    prompts: Sequence[Prompt], given: Sequence[str], split: Split, seed: int, at: float | None = None
) -> list[Prompt]:
    """The prompts beside media of scenes that show what they name, a scene of its own for each.

    Args:
        given: modalities that stand.
        split, seed: as of draw_prompts.
        at: seconds of the instant at which a picture stands; None for no instant.
    """
    return [_beside(prompt, given, split, np.random.default_rng((seed, n, 5)), at) for n, prompt in enumerate(prompts)]


def _beside(prompt: Prompt, given: Sequence[str], split: Split, rng: np.random.Generator, at: float | None) -> Prompt:
    scene = sample_scene(rng, split, **prompt.named)
    media = {m: FACES[m].show(scene, rng) if at is None else At(FACES[m].show_at(scene, at), at) for m in given}
    return replace(prompt, given=media)


def _prompt(inputs: Sequence[str], named: set[str], split: Split, rng: np.random.Generator, group: int) -> Prompt:
    scene = _scene(named, split, rng)
    media = {m: FACES[m].tell(scene, named, rng) for m in inputs}
    told = set().union(*(FACES[m].names(scene, named) for m in inputs))
    return Prompt(media, {n: scene.factors[n] for n in FACTORS if n in told}, group)


def _scene(named: set[str], split: Split, rng: np.random.Generator) -> Scene:
    """A scene to tell; one that moves where the tempo is to be named."""
    scene = sample_scene(rng, split)
    while "tempo" in named and scene.tempo is None:
        scene = sample_scene(rng, split)
    return scene
