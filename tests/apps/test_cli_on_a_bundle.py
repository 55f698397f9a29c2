"""The command `codi` over the real pipeline, on the debug bundle."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from codi.apps import cli
from codi.modalities.audio import media as audio
from codi.modalities.image import media as image
from codi.modalities.video import media as video
from tests import samples

EVERY = ("text", "image", "audio", "video")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    image.write(samples.picture(), Path("cat.png"), None)
    return tmp_path


def generate(bundle: Path, *arguments: str, status: int = 0) -> None:
    assert cli.run(["generate", "--model", str(bundle), "--steps", "2", *arguments]) == status


def test_a_caption_and_a_picture_give_all_four(bundle: Path) -> None:
    generate(bundle, "--inputs", "text=a red circle", "image=cat.png", "--outputs", *EVERY)
    assert sorted(os.listdir("out")) == ["audio.wav", "image.png", "text.json", "text.txt", "video.mp4"]
    assert image.read(Path("out/image.png")).shape == (64, 64, 3)
    assert audio.read(Path("out/audio.wav")).samples.shape == (1, 32_000)
    clip = video.read(Path("out/video.mp4"))
    assert clip.frames.shape == (16, 64, 64, 3) and clip.fps == 8 and clip.audio is not None


def test_the_same_seed_gives_the_same_bytes_and_rerun_too(bundle: Path) -> None:
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        generate(bundle, "--inputs", "text=a red circle", "--outputs", *EVERY, "--seed", seed, "--out", out)
    assert cli.run(["rerun", "a/video.mp4", "--out", "d"]) == 0
    for name in ("image.png", "audio.wav", "video.mp4", "text.json"):
        one = Path("a", name).read_bytes()
        assert one == Path("b", name).read_bytes() == Path("d", name).read_bytes()
        assert one != Path("c", name).read_bytes()


def test_a_clip_is_scored_and_kept(bundle: Path) -> None:
    samples.ffmpeg_file(Path("clip.mp4"), *samples.test_card("64x64", "8", "2"))
    generate(bundle, "--given", "video=clip.mp4", "--inputs", "text=soft bells", "--outputs", "audio")
    assert sorted(os.listdir("out")) == ["audio.wav", "video.mp4"]
    scored = video.read(Path("out/video.mp4"))
    assert np.array_equal(scored.frames, video.read(Path("clip.mp4")).frames)


def test_several_results_weights_negatives_and_an_instant(bundle: Path) -> None:
    generate(
        bundle,
        *("--inputs", "text=a", "text=b", "cat.png", "--weights", "text=1,image=.5", "--negative", "text=c"),
        *("--given", "image@0.5=cat.png", "--outputs", "video", "--num", "2", "--guidance", "2", "--bridge", "0"),
    )
    assert sorted(os.listdir("out")) == ["video_0.mp4", "video_1.mp4"]


@pytest.mark.parametrize("damage", ["missing", "truncated", "tampered"])
def test_a_damaged_bundle_is_named(
    damage: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    path = next(copy.rglob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    if damage != "missing":
        path.write_bytes(data if damage == "tampered" else data[:-10])
    generate(str(copy), "--inputs", "a", "--outputs", "text", status=2)
    printed = capsys.readouterr().err
    assert path.name in printed and printed.count("\n") == 1 and not Path("out").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--scheduler", "nothing"), ("--size", "63"), ("--device", "nothing"), ("--device", "cuda:99")],
)
def test_what_only_the_model_can_refuse(
    option: str, value: str, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(bundle, "--inputs", "a", "--outputs", "image", option, value, status=2)
    printed = capsys.readouterr()
    assert value in printed.err and not printed.out and not Path("out").exists()


def test_a_sound_and_a_picture_stand_in_part_and_rerun_too(bundle: Path) -> None:
    from codi.modalities.audio import media as audio

    audio.write(samples.clicks(rate=22_050, channels=2), Path("hit.wav"), None)
    image.write(samples.picture(), Path("cat.png"), None)
    white = np.full((48, 64, 3), 255, np.uint8)
    white[:, 32:] = 0
    image.write(white, Path("mask.png"), None)
    given = ["--given", "audio@0:0.5,1.5:2=hit.wav", "image@mask.png=cat.png"]
    made = ["--outputs", "audio", "image", "--steps", "1", "--model", str(bundle), "--out", "out"]
    assert cli.run(["generate", *given, *made]) == 0
    sound, own = audio.read(Path("out/audio.wav")), audio.read(Path("hit.wav"))
    assert sound.rate == 22_050
    assert np.abs(sound.samples[:, :11_025] - own.samples[:, :11_025]).max() < 2**-14  # written with 16 bits
    assert np.array_equal(image.read(Path("out/image.png"))[:, :32], samples.picture()[:, :32])
    assert cli.run(["rerun", "out/audio.wav", "--out", "again"]) == 0
    assert Path("again/audio.wav").read_bytes() == Path("out/audio.wav").read_bytes()
    assert Path("again/image.png").read_bytes() == Path("out/image.png").read_bytes()


def test_a_picture_and_a_text_made_anew_rerun_too(bundle: Path) -> None:
    image.write(samples.picture(), Path("cat.png"), None)
    given = ["--inputs", "text=a blue ball", "--given", "image@~0.5=cat.png", "text@~0.5=a red ball"]
    made = ["--outputs", "image", "text", "--steps", "4", "--model", str(bundle), "--out", "out"]
    assert cli.run(["generate", *given, *made]) == 0
    assert cli.run(["rerun", "out/image.png", "--out", "again"]) == 0
    assert Path("again/image.png").read_bytes() == Path("out/image.png").read_bytes()
    assert Path("again/text.txt").read_bytes() == Path("out/text.txt").read_bytes()


@pytest.mark.parametrize(
    ("first", "then", "name"),
    [
        ("video", ("--given", "video=out/video.mp4", "--outputs", "audio"), "out/video.mp4"),
        ("image", ("--inputs", "image=out/image.png", "--outputs", "image"), "out/image.png"),
        ("text", ("--inputs", "a ball", "--negative", "text=out/text.txt", "--outputs", "text"), "out/text.txt"),
    ],
)
def test_what_is_read_is_not_written_over(
    bundle: Path, first: str, then: tuple[str, ...], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(bundle, "--inputs", "a ball", "--outputs", first)
    before = Path(name).read_bytes()
    generate(bundle, *then, status=2)
    assert capsys.readouterr().err.splitlines()[-1] == f"{name}: is read and would be written over; give another --out"
    assert Path(name).read_bytes() == before
    generate(bundle, *then, "--out", "else")


def test_companions_may_be_named_where_bridges_are_off(bundle: Path) -> None:
    generate(bundle, "--inputs", "a ball", "--outputs", "image", "audio", "--companions", "text", "--bridge", "0")
    assert sorted(os.listdir("out")) == ["audio.wav", "image.png"]


def test_a_recipe_of_before_does_not_stay_beside_a_text_without_one(bundle: Path) -> None:
    generate(bundle, "--inputs", "a ball", "--outputs", "text")
    assert sorted(os.listdir("out")) == ["text.json", "text.txt"]
    generate(bundle, "--inputs", "a star", "--outputs", "text", "--no-recipe")
    assert os.listdir("out") == ["text.txt"]
    Path("out/text.json").write_text('{"mine": 1}')
    generate(bundle, "--inputs", "a star", "--outputs", "text", "--no-recipe")
    assert sorted(os.listdir("out")) == ["text.json", "text.txt"]
