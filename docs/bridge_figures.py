"""Makes the pictures of bridges.md: `python docs/bridge_figures.py [--model DIR] [--out docs]`.

attention.png: what the sound's readers attend to in the clip and the clip's in the sound, at three steps, the mean over
prompts. schedule.png: event F1 and agreement against the share of the steps in which bridges act, from the figures that
`python -m codi.evaluation --suite schedule` left in --figures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot

from codi import CoDiPipeline
from codi.evaluation.attention import watch

PROMPTS = ("a large green circle that bounces", "a small red star that slides", "a large blue heart that pulses")
SIDES = (("audio", "video"), ("video", "audio"))


def main() -> None:
    """Writes both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="codi-mini")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--figures", type=Path, help="schedule.json of an evaluation")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    if args.figures:
        _schedule(json.loads(args.figures.read_text()), args.out / "schedule.png")
    pipe = CoDiPipeline.from_pretrained(args.model)
    _attention(pipe, args.steps, args.out / "attention.png")


def _attention(pipe: CoDiPipeline, steps: int, path: Path) -> None:
    figure, axes = pyplot.subplots(2, 3, figsize=(9, 6), layout="constrained")
    for row, (reader, partner) in zip(axes, SIDES, strict=True):
        passes = np.mean([_watched(pipe, reader, prompt, steps) for prompt in PROMPTS], axis=0)
        for axis, step in zip(row, (0, steps // 2, steps - 1), strict=True):
            timed = passes[step][:, :-1]
            axis.imshow(timed, origin="lower", extent=(0, 2, 0, 2), vmin=0, vmax=timed.max())
            share = 1 - passes[step][:, -1].mean()
            axis.set(
                title=f"step {step + 1}: {share:.0%} on the {partner}", xlabel=f"{partner}, s", ylabel=f"{reader}, s"
            )
    figure.savefig(path, dpi=90)


def _watched(pipe: CoDiPipeline, reader: str, prompt: str, steps: int) -> np.ndarray:
    with watch(getattr(pipe, f"{reader}_bridge"), bins=16) as seen:
        pipe([{"text": prompt}] * 4, ["video", "audio"], seed=1, num_inference_steps=steps, bridge_start=0.0)
    return np.stack(seen.passes)


def _schedule(figures: dict[str, Any], path: Path) -> None:
    spans = {name: figure for name, figure in figures.items() if "%" in name}
    names = sorted(spans, key=lambda name: [float(part.rstrip("%")) for part in name.split("-")])
    met = [spans[name]["synchrony"]["video-audio"]["mean"] for name in names]
    agreed = [spans[name]["agreement"]["video-audio"]["factors"]["colour"] for name in names]
    pyplot.figure(figsize=(7, 2.6), layout="constrained")
    for offset, values, label in ((-0.2, met, "event F1"), (0.2, agreed, "agreement on colour")):
        pyplot.bar(np.arange(len(names)) + offset, values, 0.38, label=label)
    pyplot.xticks(range(len(names)), [name.replace("%", "").replace("-", " to ") for name in names])
    pyplot.xlabel("share of the steps in which bridges act, %")
    pyplot.ylim(0, 1)
    pyplot.legend(loc="upper left", fontsize="small")
    pyplot.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
