from __future__ import annotations

import numpy as np

from codi.evaluation.roundtrip import mp4_offsets
from codi.media import Audio, Video
from codi.worlds.sounding_shapes import render_audio, render_video, sample_scene


def test_the_sound_of_an_mp4_does_not_move(tmp_path):
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, motion=m, tempo="medium", size="large") for m in ("bounce", "pulse")]
    clips = [Video(render_video(s), 8.0, Audio(render_audio(s)[None], 16000)) for s in scenes]
    offsets = mp4_offsets(clips, tmp_path)
    assert len(offsets) >= 4
    assert np.abs(offsets).max() < 0.010
