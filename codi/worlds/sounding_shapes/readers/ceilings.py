"""Measures the readers on fresh renders: `python -m codi.worlds.sounding_shapes.readers.ceilings`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import numpy as np
import torch

from codi.worlds.events import event_f1, match_events
from codi.worlds.sounding_shapes.captions import full_caption
from codi.worlds.sounding_shapes.factors import FRAMES, SHOWN
from codi.worlds.sounding_shapes.readers.reading import Reading, read_audio, read_image, read_text, read_video
from codi.worlds.sounding_shapes.render import render_image, render_video
from codi.worlds.sounding_shapes.scene import Scene, sample_scene
from codi.worlds.sounding_shapes.sound import render_audio

Read = Callable[[list[Scene], np.random.Generator], list[Reading]]

READ: dict[str, Read] = {
    "text": lambda scenes, rng: read_text([full_caption(s, rng) for s in scenes]),
    "image": lambda scenes, rng: read_image([render_image(s, int(rng.integers(FRAMES))) for s in scenes]),
    "video": lambda scenes, rng: read_video([render_video(s) for s in scenes]),
    "audio": lambda scenes, rng: read_audio([render_audio(s) for s in scenes]),
}
"""Renders scenes in one modality and reads them."""


def ceilings(count: int = 512, seed: int = 1_000_003) -> dict[str, dict[str, float]]:
    """Per modality, the share of scenes whose factor is read right.

    For clips and sounds also the events' F1 within half a frame, and their absolute offset in milliseconds.
    """
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, "all") for _ in range(count)]
    return {name: _measure(name, scenes, read(scenes, rng)) for name, read in READ.items()}


def _measure(modality: str, scenes: list[Scene], readings: list[Reading]) -> dict[str, float]:
    figures = {}
    for factor in SHOWN[modality]:
        shown = [(s.factors, r.factors) for s, r in zip(scenes, readings, strict=True) if factor in s.factors]
        figures[factor] = float(np.mean([truth[factor] == read.get(factor) for truth, read in shown]))
    if any(len(r.events) for r in readings):
        figures |= _events(scenes, readings)
    return figures


def _events(scenes: list[Scene], readings: list[Reading]) -> dict[str, float]:
    moving = [(s.event_times, r.moving_events) for s, r in zip(scenes, readings, strict=True) if s.motion != "still"]
    offsets = [abs(b - a) for truth, read in moving for a, b in match_events(truth, read)]
    f1 = float(np.mean([event_f1(truth, read) for truth, read in moving]))
    worst = float(np.quantile(offsets, 0.95))
    return {"event F1": f1, "offset ms": 1e3 * float(np.median(offsets)), "offset p95 ms": 1e3 * worst}


def main() -> None:
    """Prints the ceilings as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1_000_003)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(ceilings(args.count, args.seed), indent=2) + "\n")


if __name__ == "__main__":
    main()
