"""Sets of files: names, modality by content, a sound track inside the clip."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from codi import files
from codi.modalities.video import media as video
from codi.types import InputError
from tests import samples


def test_video_carries_the_sound_that_was_made_with_it(tmp_path: Path) -> None:
    made = {"video": [samples.clip(), samples.clip()], "audio": [samples.clicks(), samples.clicks()]}
    written = files.save(made, tmp_path / "out", "{}")
    assert [path.name for path in written] == ["video_0.mp4", "video_1.mp4", "audio_0.wav", "audio_1.wav"]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(path.name for path in written)
    assert video.read(written[1]).audio is not None


def test_a_given_clip_gets_the_sound_that_was_made_for_it(tmp_path: Path) -> None:
    source = samples.ffmpeg_file(tmp_path / "s.mp4", *samples.test_card())
    written = files.save({"audio": [samples.clicks()]}, tmp_path, None, {"video": source})
    assert [path.name for path in written] == ["audio.wav", "video.mp4"]
    found = video.read(tmp_path / "video.mp4")
    assert np.array_equal(found.frames, video.read(source).frames) and found.audio is not None


def test_text_brings_its_recipe_beside_it(tmp_path: Path) -> None:
    files.save({"text": ["a", "b"]}, tmp_path, "{}")
    assert sorted(os.listdir(tmp_path)) == ["text_0.json", "text_0.txt", "text_1.json", "text_1.txt"]


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    files.save({name: [media] for name, media in _media().items()}, tmp_path, None)
    for name in _media():
        path = tmp_path / f"{name}.dat"
        (tmp_path / files.file_name(name, 0, 1)).rename(path)
        assert files.modality_of(path) == name


def _media() -> dict[str, object]:
    return {"text": "ID3 tags", "image": samples.picture(), "audio": samples.clicks(), "video": samples.clip()}


def test_a_file_of_no_known_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="no known format"):
        files.modality_of(tmp_path / "a.bin")


@pytest.mark.parametrize("value", ["cat.png", "dir/cat", "/x", "./a b", "~/a", "my clip.MP4", "http://a/b"])
def test_what_looks_like_a_path(value: str) -> None:
    assert files.looks_like_path(value)


@pytest.mark.parametrize(
    "value", ["a red circle", "a red/blue circle that slides", "circle", "a. b", "no. 5", "x" * 5000]
)
def test_what_does_not(value: str) -> None:
    assert not files.looks_like_path(value) and not files.is_file(value)
