"""Sample scenes as files that people can look at and listen to."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from codi.media import Audio, Video
from codi.modalities.audio import media as audio_files
from codi.modalities.image import media as image_files
from codi.modalities.text import media as text_files
from codi.modalities.video import media as video_files
from codi.worlds.sounding_shapes.captions import full_caption
from codi.worlds.sounding_shapes.factors import FPS, FRAMES, RATE, SIDE
from codi.worlds.sounding_shapes.render import render_video
from codi.worlds.sounding_shapes.scene import Scene, sample_scene
from codi.worlds.sounding_shapes.sound import render_audio

GUTTER: Final = 2
SHEET_ROWS: Final = 64
"""Most scenes on the contact sheet: a longer one no viewer opens."""


def preview(out_dir: Path, seed: int = 0, count: int = 8) -> list[Path]:
    """Renders random scenes.

    Args:
        out_dir: folder, made where it is missing.
        seed: the same seed gives the same scenes.
        count: number of scenes.

    Returns:
        The files written: a contact sheet with one scene in a row of 16 frames, and for each scene its sound
        (.wav), its clip with sound (.mp4) and its caption (.txt).

    Raises:
        InputError: the folder cannot be written.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, "all") for _ in range(count)]
    clips = [render_video(scene) for scene in scenes]
    sheet = out_dir / "scenes.png"
    image_files.write(contact_sheet(clips[:SHEET_ROWS]), sheet, None)
    written = [sheet]
    for n, (scene, frames) in enumerate(zip(scenes, clips, strict=True)):
        written += _write(scene, frames, out_dir / f"scene_{n:03d}", rng)
    return written


def contact_sheet(clips: list[np.ndarray]) -> np.ndarray:
    """One row of frames for each clip: list of uint8 [16, 64, 64, 3] -> uint8 [height, width, 3]."""
    step = SIDE + GUTTER
    sheet = np.full((len(clips) * step - GUTTER, FRAMES * step - GUTTER, 3), 255, dtype=np.uint8)
    for row, clip in enumerate(clips):
        for column, frame in enumerate(clip):
            sheet[row * step : row * step + SIDE, column * step : column * step + SIDE] = frame
    return sheet


def _write(scene: Scene, frames: np.ndarray, stem: Path, rng: np.random.Generator) -> list[Path]:
    sound = Audio(render_audio(scene)[None], RATE)
    wav, mp4, txt = (stem.with_suffix(suffix) for suffix in (".wav", ".mp4", ".txt"))
    audio_files.write(sound, wav, None)
    video_files.write(Video(frames, FPS, sound), mp4, None)
    text_files.write(full_caption(scene, rng), txt, None)
    return [wav, mp4, txt]
