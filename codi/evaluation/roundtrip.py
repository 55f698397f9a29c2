"""Whether files keep what arrays hold: the sound of an mp4 must not move against its picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codi.evaluation.faces import FACES
from codi.media import Audio, Video
from codi.modalities.video import media as video_files
from codi.worlds.events import match_events


def mp4_offsets(clips: Sequence[Video], folder: Path) -> np.ndarray:
    """How much later the events of the sound are once the clips are written as mp4 and read back.

    Args:
        clips: with sound at 16 kHz.
        folder: for the files.

    Returns:
        Seconds, float64, one for each event that is read on both sides; AAC may add its priming here.
    """
    offsets: list[float] = []
    for n, clip in enumerate(clips):
        path = folder / f"roundtrip_{n}.mp4"
        video_files.write(clip, path, None)
        sounds = [s for s in (clip.audio, video_files.read(path).audio) if isinstance(s, Audio)]
        before, after = (r.events for r in FACES["audio"].read(sounds))
        offsets += [later - earlier for earlier, later in match_events(before, after)]
    return np.asarray(offsets, dtype=np.float64)
