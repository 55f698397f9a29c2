"""What stands in part: is what is made around it like what was there, and does it join?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from codi.evaluation.engines import Engine
from codi.evaluation.faces import FACES
from codi.media import Audio, Video
from codi.modalities.audio.mel import HOP, mel_picture
from codi.types import At, Part
from codi.worlds.sounding_shapes.factors import FACTORS, FPS, FRAMES, RATE, SHOWN, SIDE
from codi.worlds.sounding_shapes.readers import read_places
from codi.worlds.sounding_shapes.scene import Scene, sample_scene

BATCH: Final = 16
INSTANT: Final = 0.5
GAP: Final = (0.5, 1.5)


@dataclass(frozen=True)
class Case:
    """One way to stand in part.

    Attributes:
        title: what stands.
        output: what is made; everything that stands is of one scene.
        stands: the output's medium of that scene -> given.
        hidden: the part of the output that is made, as numbers.
        step: how far it is from what stands to what joins it, in `unit`.
    """

    title: str
    output: str
    stands: Callable[[Any], dict[str, Any]]
    hidden: Callable[[Any], np.ndarray]
    step: Callable[[Any], float]
    unit: str


def score_parts(engine: Engine, count: int, seed: int) -> list[dict[str, Any]]:
    """For each case, without a prompt: figures of what is made around what stands.

    Returns:
        Rows. `step`: from what stands to what joins it; `step of renders`: the same of whole scenes.
        `missed`: root of the mean squared difference from what was there; `of strangers`: of other scenes from it.
        `kept`: share of the scene's factors that the output shows; `by chance`: those of other scenes.
    """
    scenes = [sample_scene(np.random.default_rng((seed, n, 5))) for n in range(count)]
    return [_row(case, engine, scenes, seed) for case in CASES]


def _row(case: Case, engine: Engine, scenes: Sequence[Scene], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    whole = [FACES[case.output].show(scene, rng) for scene in scenes]
    given = [case.stands(medium) for medium in whole]
    made: list[Any] = []
    for n in range(0, len(scenes), BATCH):
        batch = {name: [stands[name] for stands in given[n : n + BATCH]] for name in given[0]}
        made += engine({}, (case.output,), seed * 100_000 + n, given=batch)[case.output]
    there = np.stack([case.hidden(medium) for medium in whole])
    shown = [reading.factors for reading in FACES[case.output].read(made)]
    return {
        "stands": case.title,
        "samples": len(made),
        "step": float(np.mean([case.step(medium) for medium in made])),
        "step of renders": float(np.mean([case.step(medium) for medium in whole])),
        "unit": case.unit,
        "missed": _missed(np.stack([case.hidden(medium) for medium in made]), there),
        "of strangers": _missed(np.roll(there, 1, axis=0), there),
        "kept": _kept(shown, scenes, case.output),
        "by chance": _kept([scene.factors for scene in np.roll(np.array(scenes, object), 1)], scenes, case.output),
    }


def _missed(made: np.ndarray, there: np.ndarray) -> float:
    return float(np.sqrt(np.square(made.astype(np.float64) - there).mean()))


def _kept(shown: Sequence[dict[str, str]], scenes: Sequence[Scene], output: str) -> float:
    names = [name for name in FACTORS if name in SHOWN[output]]
    pairs = [(f.get(n), s.factors[n]) for f, s in zip(shown, scenes, strict=True) for n in names if n in s.factors]
    return float(np.mean([found == owed for found, owed in pairs]))


def _first_half(clip: Video) -> dict[str, Any]:
    return {"video": Part(clip, spans=((0.0, FRAMES / FPS / 2),))}


def _one_frame(clip: Video) -> dict[str, Any]:
    return {"image": At(clip.frames[round(INSTANT * FPS)], INSTANT)}


def _left_half(picture: np.ndarray) -> dict[str, Any]:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, : SIDE // 2] = True
    return {"image": Part(picture, mask=mask)}


def _with_gap(sound: Audio) -> dict[str, Any]:
    return {"audio": Part(sound, spans=((0.0, GAP[0]), (GAP[1], FRAMES / FPS)))}


def _hop(clip: Video, frame: int) -> float:
    """Pixels that the object moves from the frame before to this one."""
    before, after = read_places(clip.frames[frame - 1 : frame + 1])
    return float(np.linalg.norm(after - before))


def _mel(sound: Audio) -> np.ndarray:
    """[bands, columns] in -1..1."""
    return mel_picture(torch.from_numpy(sound.samples))[0, 0].numpy()


def _mel_step(sound: Audio) -> float:
    mel, columns = _mel(sound), [round(moment * RATE / HOP) for moment in GAP]
    return float(np.mean([np.abs(mel[:, c] - mel[:, c - 1]).mean() for c in columns]))


def _across(picture: np.ndarray) -> float:
    columns = picture[:, SIDE // 2 - 1 : SIDE // 2 + 1].astype(np.float64)
    return float(np.abs(columns[:, 1] - columns[:, 0]).mean())


CASES: Final = (
    Case(
        "picture at 0.5 s of a clip",
        "video",
        _one_frame,
        lambda clip: np.delete(clip.frames, round(INSTANT * FPS), axis=0),
        lambda clip: (_hop(clip, round(INSTANT * FPS)) + _hop(clip, round(INSTANT * FPS) + 1)) / 2,
        "pixels that the object moves",
    ),
    Case(
        "first half of a clip",
        "video",
        _first_half,
        lambda clip: clip.frames[FRAMES // 2 :],
        lambda clip: _hop(clip, FRAMES // 2),
        "pixels that the object moves",
    ),
    Case(
        "left half of a picture",
        "image",
        _left_half,
        lambda picture: picture[:, SIDE // 2 :],
        _across,
        "grey levels of 255",
    ),
    Case(
        "sound but for its middle second",
        "audio",
        _with_gap,
        lambda sound: _mel(sound)[:, round(GAP[0] * RATE / HOP) : round(GAP[1] * RATE / HOP)],
        _mel_step,
        "log-mel, of -1 to 1",
    ),
)
