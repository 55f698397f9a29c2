"""Files: what is written reads back, real formats come in, bytes repeat, nothing is left half-written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile

from codi import ffmpeg
from codi.media import Audio, Video, replacing, staging
from codi.modalities.audio import media as audio
from codi.modalities.image import media as image
from codi.modalities.text import media as text
from codi.modalities.video import media as video
from codi.types import InputError
from tests import samples

RECIPE = json.dumps({"text": "a ;=#\\ \u00e9 \n circle", "long": "x" * 200_000}, ensure_ascii=False)
MODULES = {"text": text, "image": image, "audio": audio, "video": video}
MEDIA = {
    "text": "a small red circle",
    "image": samples.picture(),
    "audio": samples.clicks(),
    "video": samples.clip(audio=samples.clicks()),
}


def onset(sound: Audio, second: float) -> float:
    """Seconds from `second` to where the sound rises near it."""
    start = max(0, int((second - 0.1) * sound.rate))
    window = np.abs(sound.samples.mean(0)[start : int((second + 0.1) * sound.rate)])
    return (start + int(np.argmax(window > 0.1))) / sound.rate - second


@pytest.mark.parametrize("name", MODULES)
def test_the_recipe_is_in_the_file_and_bytes_repeat(name: str, tmp_path: Path) -> None:
    module = MODULES[name]
    first, second = tmp_path / f"a{module.SUFFIX}", tmp_path / f"b{module.SUFFIX}"
    for path in (first, second):
        module.write(MEDIA[name], path, RECIPE)
        assert module.read_recipe(path) == RECIPE
        assert module.sniff(path)
    assert first.read_bytes() == second.read_bytes()
    module.write(MEDIA[name], tmp_path / f"c{module.SUFFIX}", None)
    assert module.read_recipe(tmp_path / f"c{module.SUFFIX}") is None


@pytest.mark.parametrize("name", MODULES)
def test_a_file_belongs_to_one_modality(name: str, tmp_path: Path) -> None:
    path = tmp_path / "no_suffix"
    MODULES[name].write(MEDIA[name], path.with_suffix(MODULES[name].SUFFIX), None)
    path.with_suffix(MODULES[name].SUFFIX).rename(path)
    assert [other for other, module in MODULES.items() if module.sniff(path)] == [name]


def test_text_image_and_audio_read_back(tmp_path: Path) -> None:
    text.write("a b", tmp_path / "t.txt", None)
    assert text.read(tmp_path / "t.txt") == "a b"
    image.write(samples.picture(), tmp_path / "i.png", None)
    assert np.array_equal(image.read(tmp_path / "i.png"), samples.picture())
    audio.write(samples.clicks(channels=2), tmp_path / "a.wav", "{}")
    back = audio.read(tmp_path / "a.wav")
    assert back.rate == 16_000
    assert np.abs(back.samples - samples.clicks(channels=2).samples).max() < 1e-4


def test_video_reads_back_with_its_sound_in_place(tmp_path: Path) -> None:
    made = samples.clip(audio=samples.clicks())
    video.write(made, tmp_path / "v.mp4", "{}")
    back = video.read(tmp_path / "v.mp4")
    assert back.frames.shape == made.frames.shape and back.fps == 8.0
    assert np.abs(back.frames.astype(int) - made.frames).mean() < 3
    assert back.audio is not None
    assert back.audio.samples.shape == (1, 32_000) and back.audio.rate == 16_000
    assert max(abs(onset(back.audio, second)) for second in samples.CLICKS) < 0.01


def test_flat_colours_survive_the_codec(tmp_path: Path) -> None:
    colours = np.array([[220, 30, 30], [30, 160, 40], [40, 60, 210], [230, 210, 40], [255, 255, 255], [0, 0, 0]])
    frames = np.repeat(np.repeat(colours[:, None, None], 32, 1), 32, 2).astype(np.uint8)
    video.write(Video(frames, 4.0), tmp_path / "v.mp4", None)
    assert np.abs(video.read(tmp_path / "v.mp4").frames.astype(int) - frames).max() <= 4


def test_odd_sides_are_padded_by_one(tmp_path: Path) -> None:
    video.write(Video(samples.clip().frames[:, :63, :61], 8.0), tmp_path / "v.mp4", None)
    assert video.read(tmp_path / "v.mp4").frames.shape == (16, 64, 62, 3)


def test_a_new_sound_track_leaves_the_packets(tmp_path: Path) -> None:
    source = samples.ffmpeg_file(tmp_path / "s.mov", *samples.test_card(), *samples.tone())
    video.mux_original(source, samples.clicks(), tmp_path / "m.mp4", "{}")
    before, after = video.read(source), video.read(tmp_path / "m.mp4")
    assert np.array_equal(before.frames, after.frames)
    assert after.audio is not None
    assert max(abs(onset(after.audio, second)) for second in samples.CLICKS) < 0.01
    packets = [
        ffmpeg._run(["-i", str(path), "-map", "0:V", "-c", "copy", "-f", "h264", "-"])
        for path in (source, tmp_path / "m.mp4")
    ]
    assert packets[0] == packets[1]
    assert video.read_recipe(tmp_path / "m.mp4") == "{}"


@pytest.mark.parametrize("suffix", ["mov", "mp4", "mkv", "webm", "avi"])
def test_clips_of_other_programs_come_in(suffix: str, tmp_path: Path) -> None:
    path = samples.ffmpeg_file(tmp_path / f"c.{suffix}", *samples.test_card(), *samples.tone())
    found = video.read(path)
    assert found.fps == pytest.approx(30000 / 1001)
    assert found.frames.shape[0] in (30, 31) and found.frames.shape[1:] == (64, 96, 3)
    assert found.audio is not None and found.audio.seconds == pytest.approx(1, abs=0.06)
    assert video.sniff(path) and not audio.sniff(path)


def test_a_turned_clip_is_upright_and_a_large_one_is_scaled_down(tmp_path: Path) -> None:
    plain = samples.ffmpeg_file(tmp_path / "p.mp4", *samples.test_card("1280x720", "10"))
    turned = samples.ffmpeg_file(tmp_path / "t.mp4", "-display_rotation", "90", "-i", str(plain), "-c", "copy")
    assert video.read(plain).frames.shape == (10, 288, 512, 3)
    assert video.read(turned).frames.shape == (10, 512, 288, 3)


def test_a_gif_is_a_clip_if_it_moves_and_lies_on_white(tmp_path: Path) -> None:
    frames = [PIL.Image.new("RGBA", (32, 32), (0, 0, 0, 0)) for _ in range(4)]
    for index, frame in enumerate(frames):
        frame.paste((200, 30, 30, 255), (4 * index, 8, 4 * index + 8, 16))
    path = tmp_path / "g.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 100, 300, 100], disposal=2)
    assert video.sniff(path) and not image.sniff(path)
    found = video.read(path)
    assert found.fps == 10 and found.frames.shape[0] in (6, 7)
    assert found.frames[0, 31, 31].min() > 250 and found.frames[0, 10, 2, 0] > 150 > found.frames[0, 10, 2, 1]
    assert image.read(path).shape == (32, 32, 3)
    frames[0].save(tmp_path / "s.gif")
    assert image.sniff(tmp_path / "s.gif") and not video.sniff(tmp_path / "s.gif")


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [("RGBA", (10, 20, 30, 0), 255), ("RGBA", (10, 10, 10, 255), 10), ("LA", (9, 0), 255), ("L", 77, 77)],
)
def test_pictures_come_out_opaque(mode: str, colour: tuple[int, ...], expected: int, tmp_path: Path) -> None:
    PIL.Image.new(mode, (5, 4), colour).save(tmp_path / "p.png")
    found = image.read(tmp_path / "p.png")
    assert found.shape == (4, 5, 3) and found.dtype == np.uint8
    assert (found == expected).all()


def test_palette_transparency_and_sixteen_bits(tmp_path: Path) -> None:
    PIL.Image.new("P", (4, 4), 0).save(tmp_path / "p.png", transparency=0)
    assert (image.read(tmp_path / "p.png") == 255).all()
    PIL.Image.fromarray(np.full((4, 4), 32_896, np.uint16)).save(tmp_path / "s.png")
    assert (image.read(tmp_path / "s.png") == 128).all()


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_exif_orientation_is_honoured(suffix: str, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(samples.picture(20, 40)).save(tmp_path / f"p.{suffix}", exif=exif)
    assert image.read(tmp_path / f"p.{suffix}").shape == (40, 20, 3)


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac", "m4a", "opus", "aiff", "wav"])
def test_sounds_of_other_programs_come_in(suffix: str, tmp_path: Path) -> None:
    sound = samples.clicks(48_000, channels=2)
    soundfile.write(tmp_path / "w.wav", sound.samples.T, 48_000)
    path = samples.ffmpeg_file(tmp_path / f"s.{suffix}", "-i", str(tmp_path / "w.wav"))
    found = audio.read(path)
    assert audio.sniff(path) and not video.sniff(path)
    assert found.samples.shape[0] == 2 and found.rate == 48_000
    assert found.seconds == pytest.approx(2, abs=0.06)
    assert max(abs(onset(found, second)) for second in samples.CLICKS) < 0.01


def test_flac_comments_are_read(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 8000, 1) as file:
        file.comment = "{}"
        file.write(np.zeros(100))
    assert audio.read_recipe(tmp_path / "a.flac") == "{}"


def test_a_peak_above_one_is_scaled(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", samples.clicks().samples.T * 4, 16_000, "FLOAT")
    assert np.abs(audio.read(tmp_path / "a.wav").samples).max() == pytest.approx(1)


def test_text_is_tidied(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("\ufeff a  red\r\n circle \u00e9\n".encode())
    assert text.read(tmp_path / "t.txt") == "a red circle \u00e9"


def test_probe_of_headers_that_vary() -> None:
    header = """  Duration: 01:02:03.50, start: 0.0
  Stream #0:0[0x1](und): Video: hevc (Main) (hvc1 / 0x31637668), yuv420p(tv), 1920x1080, 29.6 fps, 30 tbr, 600 tbn
  Stream #0:1[0x2](und): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, 5.1(side), fltp, 50 kb/s (default)
"""
    assert ffmpeg.parse_header(header) == ffmpeg.Probe(
        seconds=3723.5, codec="hevc", fps=30.0, pixels=1920 * 1080, rate=44_100, channels=2
    )
    cover = "  Stream #0:1: Video: mjpeg, yuvj420p, 600x600, 90k tbr, 90k tbn (attached pic)\n"
    assert ffmpeg.parse_header(cover) == ffmpeg.Probe()


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with (
        pytest.raises(InputError, match=r"\(no space left\); free some space"),
        replacing(tmp_path / "a.txt") as temporary,
    ):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_a_set_of_files_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(InputError, match=r"b\.txt is a folder"), staging(tmp_path) as stage:
        (stage / "a.txt").write_text("a")
        (stage / "b.txt").write_text("b")
    assert os.listdir(tmp_path) == ["b.txt"]
    with staging(tmp_path / "new") as stage:
        (stage / "a.txt").write_text("a")
    assert os.listdir(tmp_path / "new") == ["a.txt"]


def test_a_broken_encoder_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "program", lambda: "/bin/false")
    with pytest.raises(InputError, match="cannot be written"):
        video.write(samples.clip(), tmp_path / "v.mp4", None)
    assert os.listdir(tmp_path) == []
