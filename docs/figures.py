"""Makes the README's pictures with the shipped bundle: `python docs/figures.py [--model DIR] [--out docs]`.

grid.png: each row is one prompt and what was made from it jointly: image, frames of the clip, the sound's spectrogram,
and the caption. bounce.gif: the clip of the first row, three times enlarged.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib import pyplot
from matplotlib.axes import Axes

from codi import CoDiPipeline
from codi.media import Audio, Video
from codi.modalities.image.media import read as read_picture

BALL = Path(__file__).with_name("ball.png")
OUTPUTS = ["image", "video", "audio", "text"]
ROWS: tuple[tuple[dict[str, Any], int], ...] = (
    ({"text": "a small red circle bouncing fast"}, 0),
    ({"text": "a large green star that slides slowly"}, 1),
    ({"text": "a large purple heart pulsing"}, 2),
    ({"image": BALL, "text": "it bounces"}, 3),
)
FRAMES = (0, 3, 6, 9, 12, 15)


def main() -> None:
    """Writes both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="codi-mini")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=BALL.parent)
    args = parser.parse_args()
    pipe = CoDiPipeline.from_pretrained(args.model)
    made = [
        pipe(inputs=_opened(inputs), outputs=OUTPUTS, seed=seed, num_inference_steps=args.steps)
        for inputs, seed in ROWS
    ]
    _grid(made, args.out / "grid.png")
    _gif(made[0].video, args.out / "bounce.gif")


def _opened(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: read_picture(value) if isinstance(value, Path) else value for name, value in inputs.items()}


def _grid(made: list[Any], path: Path) -> None:
    ratios = [1, 1, len(FRAMES), 3]
    figure, axes = pyplot.subplots(len(made), 4, figsize=(12, 1.5 * len(made)), width_ratios=ratios, squeeze=False)
    for row, result, (inputs, _) in zip(axes, made, ROWS, strict=True):
        prompt = inputs.get("image")
        row[0].imshow(read_picture(prompt) if prompt else np.full((8, 8, 3), 255, np.uint8))
        row[1].imshow(result.image)
        row[2].imshow(np.concatenate([result.video.frames[k] for k in FRAMES], axis=1))
        _spectrogram(row[3], result.audio)
        row[0].set_title(inputs["text"], fontsize=8, loc="left")
        row[2].set_title(f"text: {result.text}", fontsize=8, loc="left")
        for place in row:
            place.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def _spectrogram(place: Axes, sound: Audio) -> None:
    place.specgram(sound.samples[0] + 1e-5, NFFT=512, noverlap=384, Fs=sound.rate, vmin=-130)
    place.set_ylim(0, 4000)


def _gif(clip: Video, path: Path, scale: int = 3) -> None:
    size = tuple(scale * n for n in clip.frames.shape[2:0:-1])
    frames = [PIL.Image.fromarray(f).resize(size, PIL.Image.Resampling.NEAREST) for f in clip.frames]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=1000 / clip.fps, loop=0)


if __name__ == "__main__":
    main()
