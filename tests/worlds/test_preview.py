from __future__ import annotations

from codi.modalities.audio import media as audio_files
from codi.modalities.video import media as video_files
from codi.worlds.sounding_shapes.captions import read_caption
from codi.worlds.sounding_shapes.preview import preview


def test_a_preview_holds_sheet_sounds_clips_and_captions(tmp_path):
    files = preview(tmp_path / "new", seed=1, count=2)
    assert [f.name for f in files[:4]] == ["scenes.png", "scene_000.wav", "scene_000.mp4", "scene_000.txt"]
    assert len(files) == 7 and all(f.stat().st_size > 0 for f in files)
    assert audio_files.read(files[1]).seconds == 2.0
    assert video_files.read(files[2]).frames.shape == (16, 64, 64, 3)
    assert len(read_caption(files[3].read_text())) >= 4
