"""Makes parts.png with the shipped bundle: what is made around what stands (`python docs/parts.py [--out docs]`).

By row: what stands of a scene; what is made where that is laid back alone; what is made where it is drawn to it too.
`--figures 64` prints the figures of suite `parts` of that many scenes, seed 1, where it is laid back alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

from codi import At, CoDiPipeline, Part
from codi.evaluation.engines import load_engine
from codi.evaluation.parts import score_parts
from codi.held import Held
from codi.media import Video
from codi.worlds.sounding_shapes.factors import FPS
from codi.worlds.sounding_shapes.render import render_image, render_video
from codi.worlds.sounding_shapes.scene import sample_scene

FRAMES = slice(2, 12)
PINNED = 4
HALF = 8
SEED = 7
ROWS = ("stands", "laid back alone", "drawn to it too")
CLIPS, PICTURES = 2, 4


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="codi-mini")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--figures", type=int, metavar="SCENES")
    args = parser.parse_args()
    if args.figures:
        with _laid_alone():
            print(*score_parts(load_engine(args.model, {}), args.figures, seed=1), sep="\n")
        return
    pipe = CoDiPipeline.from_pretrained(args.model)
    scenes = [sample_scene(np.random.default_rng((SEED, n)), motion="slide") for n in range(2 * CLIPS + PICTURES)]
    figure, axes = pyplot.subplots(2 * CLIPS + 1, 1, figsize=(8, 2.6 * (2 * CLIPS + 1)))
    for place, scene in zip(axes[:CLIPS], scenes, strict=False):
        frame = render_image(scene, PINNED)
        shown = np.full((FRAMES.stop, *frame.shape), 255, np.uint8)
        shown[PINNED] = frame
        made = _both(pipe, {"image": At(frame, PINNED / FPS)}, "video")
        _draw(place, [_strip(shown), *(_strip(clip.frames) for clip in made)], "a picture at 0.5 s of a clip")
    for place, scene in zip(axes[CLIPS : 2 * CLIPS], scenes[CLIPS:], strict=False):
        clip = render_video(scene)
        shown = clip.copy()
        shown[HALF:] = 255
        made = _both(pipe, {"video": Part(Video(clip, FPS), spans=((0, HALF / FPS),))}, "video")
        _draw(place, [_strip(shown), *(_strip(clip.frames) for clip in made)], "the first second of a clip")
    columns = [_completed(pipe, render_image(scene, 0)) for scene in scenes[2 * CLIPS :]]
    _draw(axes[-1], [np.concatenate(row, 1) for row in zip(*columns, strict=True)], "the left half of a picture")
    figure.tight_layout()
    figure.savefig(args.out / "parts.png", dpi=90, bbox_inches="tight")


@contextmanager
def _laid_alone() -> Iterator[None]:
    with patch.object(Held, "draws", lambda *_: False), patch.object(Held, "renewal", 1.0):
        yield


def _both(pipe: CoDiPipeline, given: dict[str, Any], output: str) -> list[Any]:
    """Laid back alone, and drawn to it too; without a prompt."""
    with _laid_alone():
        alone = getattr(pipe({}, [output], given, seed=SEED), output)
    return [alone, getattr(pipe({}, [output], given, seed=SEED), output)]


def _completed(pipe: CoDiPipeline, picture: np.ndarray) -> list[np.ndarray]:
    mask = np.zeros(picture.shape[:2], bool)
    mask[:, : picture.shape[1] // 2] = True
    return [np.where(mask[..., None], picture, 255), *_both(pipe, {"image": Part(picture, mask=mask)}, "image")]


def _strip(frames: np.ndarray) -> np.ndarray:
    return np.concatenate(list(frames[FRAMES]), axis=1)


def _draw(place: Axes, rows: list[np.ndarray], title: str) -> None:
    place.imshow(np.concatenate(rows))
    place.set_title(title, fontsize=8, loc="left")
    place.set_yticks([len(rows[0]) * (n + 0.5) for n in range(len(rows))], ROWS, fontsize=7)
    place.set_xticks([])


if __name__ == "__main__":
    main()
