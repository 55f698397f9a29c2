"""Inputs that contradict each other, under weights: which of them do the outputs follow?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from codi.evaluation.engines import Engine
from codi.evaluation.faces import FACES
from codi.worlds.sounding_shapes.scene import sample_scene

WEIGHTS: Final = ({"text": 1.0, "image": 0.2}, {"text": 1.0, "image": 1.0}, {"text": 0.2, "image": 1.0})
ASKED: Final = ("shape", "colour")


@dataclass(frozen=True)
class Conflict:
    """A text and an image of different shape and colour."""

    text: str
    image: Any
    told: dict[str, str]
    shown: dict[str, str]


def draw_conflicts(count: int, seed: int) -> list[Conflict]:
    """Random conflicts; every factor in ASKED differs between the two."""
    rng = np.random.default_rng(seed)
    drawn: list[Conflict] = []
    while len(drawn) < count:
        a, b = sample_scene(rng), sample_scene(rng)
        if all(a.factors[n] != b.factors[n] for n in ASKED):
            text, image = FACES["text"].tell(a, ASKED, rng), FACES["image"].show(b, rng)
            drawn.append(Conflict(text, image, a.factors, b.factors))
    return drawn


def score_conflicts(engine: Engine, outputs: Sequence[str], count: int, seed: int) -> list[dict[str, Any]]:
    """For each set of weights and each output: the share of factors that follow the text, and the image."""
    conflicts = draw_conflicts(count, seed)
    inputs = {"text": [c.text for c in conflicts], "image": [c.image for c in conflicts]}
    rows = []
    for weights in WEIGHTS:
        made = engine(inputs, outputs, seed, weights=weights)
        rows.append({"weights": weights} | {m: _followed(conflicts, m, media) for m, media in made.items()})
    return rows


def _followed(conflicts: Sequence[Conflict], modality: str, media: Sequence[Any]) -> dict[str, float]:
    found = [r.factors for r in FACES[modality].read(media)]
    told = [f.get(n) == c.told[n] for c, f in zip(conflicts, found, strict=True) for n in ASKED]
    shown = [f.get(n) == c.shown[n] for c, f in zip(conflicts, found, strict=True) for n in ASKED]
    return {"text": float(np.mean(told)), "image": float(np.mean(shown))}
