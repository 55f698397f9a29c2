"""Bad input: one line that names it, status 2, nothing written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from codi.apps import cli, request
from codi.modalities.image import media as image
from codi.modalities.video import media as video
from tests import samples

Make = Callable[[Path], list[str]]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, a bundle that is found, and a pipeline that must not be reached."""
    inner = tmp_path / "place"
    inner.mkdir()
    monkeypatch.chdir(inner)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "model_index.json").write_text('{"_class_name": "CoDiPipeline"}')
    monkeypatch.setattr(request, "run", lambda *_: pytest.fail("the pipeline was reached"))
    return inner


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, model: str = "../bundle") -> str:
    """The one line that a command prints when it refuses."""
    before = sorted(Path().rglob("*"))
    status = cli.run(["generate", "--model", model, *arguments])
    printed = capsys.readouterr()
    assert status == 2, printed
    assert printed.out == "" and printed.err.count("\n") == 1 and "Traceback" not in printed.err
    assert sorted(Path().rglob("*")) == before, "something was written"
    return printed.err.strip()


def named(data: bytes, suffix: str) -> Make:
    def make(folder: Path) -> list[str]:
        (folder / f"x{suffix}").write_bytes(data)
        return [f"x{suffix}"]

    return make


def _truncated(suffix: str, write: Callable[[Path], object], keep: float) -> Make:
    def make(folder: Path) -> list[str]:
        path = folder / f"x{suffix}"
        write(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
        return [path.name]

    return make


def _sound_only_mp4(folder: Path) -> list[str]:
    return [samples.ffmpeg_file(folder / "x.mp4", *samples.tone()).name]


def _empty_wav(folder: Path) -> list[str]:
    with wave.open(str(folder / "x.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    return ["x.wav"]


def _nan_wav(folder: Path) -> list[str]:
    soundfile.write(folder / "x.wav", np.array([0.0, np.nan, 0.1]), 16_000, "FLOAT")
    return ["x.wav"]


def _long_wav(folder: Path) -> list[str]:
    return [samples.long_wav(folder / "x.wav", 3 * 3600).name]


def _long_clip(folder: Path) -> list[str]:
    return [samples.ffmpeg_file(folder / "x.mp4", *samples.test_card("16x16", "1", "70")).name]


def _clip_of_unsaid_length(folder: Path) -> list[str]:
    # As a browser records: no duration in the header.
    arguments = [*samples.test_card("16x16", "1", "70"), "-live", "1", "-f", "webm"]
    return [samples.ffmpeg_file(folder / "x.webm", *arguments).name]


def _folder(folder: Path) -> list[str]:
    (folder / "x.png").mkdir()
    return ["x.png"]


PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
FILES: list[tuple[str, Make, str]] = [
    ("image", lambda _: ["x.png"], "x.png: no such file; give a PNG"),
    ("audio", lambda _: ["x.wav"], "x.wav: no such file; give a WAV"),
    ("video", lambda _: ["x.mp4"], "x.mp4: no such file; give an mp4"),
    ("text", lambda _: ["x.txt"], "x.txt: no such file; give a UTF-8"),
    ("image", named(b"", ".png"), "x.png: is empty"),
    ("audio", named(b"", ".wav"), "x.wav: is empty"),
    ("video", named(b"", ".mp4"), "x.mp4: is empty"),
    ("text", named(b"", ".txt"), "x.txt: is empty"),
    ("text", named(b" \n\t ", ".txt"), "x.txt: is empty"),
    ("image", _folder, "x.png: is not a regular file"),
    ("image", named(PICTURE, ".png"), "x.png: is a damaged PNG file"),
    ("image", named(b"\xff\xd8\xff\xe0" + b"\1" * 99, ".jpg"), "x.jpg: is a damaged JPEG file"),
    ("audio", named(b"RIFF\x24\0\0\0WAVEjunk" + b"\1" * 20, ".wav"), "x.wav: is a damaged WAV file"),
    ("audio", named(b"ID3\4" + b"\0" * 99, ".mp3"), "x.mp3: is a damaged MP3 file"),
    ("audio", named(b"\0\0\0\x20ftypM4A " + b"\0" * 99, ".m4a"), "x.m4a: is a damaged MP4 file"),
    ("video", named(b"\0\0\0\x20ftypisom" + b"\0" * 99, ".mp4"), "x.mp4: is a damaged MP4 file"),
    ("video", named(b"\x1a\x45\xdf\xa3" + b"\xff" * 99, ".webm"), "x.webm: is a damaged WebM file"),
    ("text", named(b"a\0b", ".txt"), "x.txt: holds no known format"),
    ("text", named(b"caf\xe9 au lait", ".txt"), "x.txt: holds no known format"),
    ("text", named(b"x" * 70_000, ".txt"), "x.txt: is longer than 64 KiB"),
    ("image", named(b"a caption", ".png"), "x.png: holds text; give a PNG"),
    ("audio", named(PICTURE, ".wav"), "x.wav: holds PNG; give a WAV"),
    ("video", named(PICTURE, ".mp4"), "x.mp4: holds PNG; give an mp4"),
    ("text", named(PICTURE, ".txt"), "x.txt: holds PNG; give a UTF-8"),
    ("image", named(b"%PDF-1.7 " + b"\xff" * 20, ".png"), "x.png: holds PDF"),
    ("image", named(samples.png_header(50_000, 50_000), ".png"), "x.png: has more than 50 million pixels"),
    ("image", named(samples.png_header(10_000, 6_000), ".png"), "x.png: has more than 50 million pixels"),
    ("image", _truncated(".png", lambda p: image.write(samples.picture(), p, None), 0.8), "x.png: is a damaged PNG"),
    ("video", _truncated(".mp4", lambda p: video.write(samples.clip(), p, None), 0.7), "x.mp4: is a damaged MP4"),
    ("video", _sound_only_mp4, "x.mp4: holds sound and no frames"),
    ("video", _long_clip, "x.mp4: lasts 70 s; cut it to at most 60 s"),
    ("video", _clip_of_unsaid_length, "x.webm: lasts 61 s; cut it to at most 60 s"),
    ("audio", _empty_wav, "x.wav: has no samples"),
    ("audio", _nan_wav, "x.wav: holds samples that are NaN"),
    ("audio", _long_wav, "x.wav: lasts 10800 s; cut it to at most 600 s"),
]


@pytest.mark.parametrize(("name", "make", "message"), FILES, ids=[message for _, _, message in FILES])
def test_files(name: str, make: Make, message: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = make(place)
    output = "audio" if name == "video" else "video"
    assert message in refused(capsys, "--inputs", f"{name}={path}", "--outputs", output)
    assert message in refused(capsys, "--given", f"{name}={path}", "--outputs", output)


def test_an_audio_file_under_a_clip_suffix(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples.ffmpeg_file(place / "x.wav", *samples.tone())
    (place / "x.wav").rename(place / "x.mp4")
    assert "x.mp4: holds WAV" in refused(capsys, "--inputs", "video=x.mp4", "--outputs", "text")
    video.write(samples.clip(), place / "y.mp4", None)
    (place / "y.mp4").rename(place / "y.wav")
    assert "y.wav: holds MP4" in refused(capsys, "--inputs", "audio=y.wav", "--outputs", "text")


ARGUMENTS: list[tuple[list[str], str]] = [
    (["--inputs", "a"], "--outputs: is missing; name at least one of"),
    (["--outputs", "video"], "--inputs: is missing"),
    (["--inputs", "--outputs", "video"], "--inputs: has no value"),
    (["--inputs", "a", "--outputs", "smell"], "smell: is not a modality; choose among audio, image, text, video"),
    (["--inputs", "a", "--outputs", "text,image"], "text,image: is not a modality"),
    (["--inputs", "smell=a.png", "--outputs", "video"], "smell: is not a modality"),
    (["--inputs", "a", "--outputs", "video", "text", "video"], "video: is asked twice"),
    (["--inputs", "a", "--given", "text=b", "--outputs", "text"], "text: is both given and an output"),
    (["--given", "text=a", "text=b", "--outputs", "video"], "text: is given twice"),
    (["--inputs", "nothing.png", "--outputs", "video"], "nothing.png: no such file"),
    (["--inputs", "pictures/nothing", "--outputs", "video"], "pictures/nothing: no such file"),
    (["--inputs", "text=", "--outputs", "video"], "text: is empty; give a caption"),
    (["--inputs", "", "--outputs", "video"], "text: is empty; give a caption"),
    (["--inputs", "image=", "--outputs", "video"], "image: has no value; give a PNG"),
    (["--given", "audio@1:0=a.wav", "--outputs", "audio"], "audio@1:0: has a span that ends at 0 and begins at 1"),
    (["--given", "audio@0:x=a.wav", "--outputs", "audio"], "audio@0:x: 'x' is not a number"),
    (["--given", "audio@mask.png=a.wav", "--outputs", "audio"], "audio@mask.png: 'mask.png' is not a number"),
    (["--given", "audio@~2=a.wav", "--outputs", "audio"], "audio@~2: is 2.0; give a number above 0 to 1"),
    (["--given", "audio@~x=a.wav", "--outputs", "audio"], "audio@~x: 'x' is not a number"),
    (["--given", "text@~0.5=a", "--outputs", "audio"], "text: is given in part and no output"),
    (["--inputs", "text@1=a", "--outputs", "video"], "text@1: has a place, which --inputs does not take"),
    (["--given", "text@soon=a", "--outputs", "video"], "text@soon: 'soon' is not a number"),
    (["--given", "text@-1=a", "--outputs", "video"], "text@-1: is -1.0; give a number from 0"),
    (["--given", "text@nan=a", "--outputs", "video"], "text@nan: is nan"),
    (["--inputs", "a", "--outputs", "video", "--steps", "0"], "--steps: is 0; give a whole number from 1 to 1000"),
    (["--inputs", "a", "--outputs", "video", "--steps", "-3"], "--steps: is -3"),
    (["--inputs", "a", "--outputs", "video", "--steps", "nan"], "--steps"),
    (["--inputs", "a", "--outputs", "video", "--steps", "2.5"], "--steps"),
    (["--inputs", "a", "--outputs", "video", "--seed", "-1"], "--seed: is -1"),
    (["--inputs", "a", "--outputs", "video", "--num", "0"], "--num: is 0"),
    (["--inputs", "a", "--outputs", "video", "--guidance", "nan"], "--guidance: is nan; give a number from 0"),
    (["--inputs", "a", "--outputs", "video", "--guidance", "-1"], "--guidance: is -1.0"),
    (
        ["--inputs", "a", "--outputs", "video", "text", "--companions", "text"],
        "--companions text: is made or given anyway; leave it out",
    ),
    (["--inputs", "a", "--outputs", "video", "--companions", "smell"], "smell: is not a modality"),
    (["--inputs", "a", "--outputs", "video", "--bridge-end", "2"], "--bridge-end: is 2.0; give a number from 0 to 1"),
    (["--inputs", "a", "--outputs", "video", "--bridge", "inf"], "--bridge: is inf"),
    (["--inputs", "a", "--outputs", "video", "--duration", "0"], "--duration: is 0.0; give a number above 0 to 600"),
    (["--inputs", "a", "--outputs", "video", "--fps", "-8"], "--fps: is -8.0"),
    (["--inputs", "a", "--outputs", "video", "--size", "0"], "--size: is 0"),
    (["--inputs", "a", "--outputs", "video", "--dtype", "int8"], "--dtype int8: is not a number format"),
    (["--inputs", "a", "--outputs", "video", "--weights", "image=1"], "--weights image: weighs a modality that is not"),
    (["--inputs", "a", "--outputs", "video", "--weights", "text=nan"], "--weights text: is nan"),
    (["--inputs", "a", "--outputs", "video", "--weights", "text=much"], "--weights text: 'much' is not a number"),
    (["--inputs", "a", "--outputs", "video", "--weights", "text=1,text=2"], "--weights text: stands twice"),
    (["--inputs", "a", "--outputs", "video", "--weights", "text"], "--weights text: '' is not a number"),
    (["--inputs", "a", "--outputs", "video", "--colour", "red"], "codi: No such option: --colour"),
    (
        ["--inputs", "a", "--outputs", "video", "--model", "nothing"],
        "nothing: is no bundle; give codi-mini or a folder",
    ),
    (["--inputs", "a", "--outputs", "video", "--model", "org/name"], "org/name: is no folder, and hub ids"),
]


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS, ids=[" ".join(words) for words, _ in ARGUMENTS])
def test_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, *arguments)


WANTED = ("--inputs", "a", "--outputs", "text")


@pytest.mark.parametrize("out", ["/proc/nowhere", "/dev/null", "/dev/null/x"])
def test_folders_that_cannot_be_written(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{out}: cannot be written" in refused(capsys, *WANTED, "--out", out)


def test_a_full_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    assert "deep/out: has no space left; free some space" in refused(capsys, *WANTED, "--out", "deep/out")


def test_a_folder_where_a_file_would_go(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "out" / "text.txt").mkdir(parents=True)
    assert "out/text.txt: is a folder where a file would go" in refused(capsys, *WANTED)


def test_a_disk_that_fills_up_while_writing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(request, "run", lambda *_: SimpleNamespace(text="a", image=samples.picture(), recipe={}))
    monkeypatch.setattr(request, "_threads", lambda: 1)
    monkeypatch.setattr(image, "write", full)
    assert "out: cannot be written (no space left); free some space" in refused(
        capsys, "--inputs", "a", "--outputs", "text", "image"
    )
    assert os.listdir(place) == []


def test_info_names_a_damaged_weight_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place.parent / "bundle" / "w.safetensors").write_bytes(b"\xff" * 30)
    assert cli.run(["info", "--model", "../bundle"]) == 2
    assert "w.safetensors: is a damaged weight file" in capsys.readouterr().err


def test_status_and_streams_of_the_real_command(place: Path) -> None:
    command = [sys.executable, "-m", "codi", "generate", "--inputs", "image=no.png", "--outputs", "video"]
    root = str(Path(cli.__file__).parents[2])
    done = subprocess.run(
        [*command, "--model", "../bundle"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "no.png: no such file; give a PNG, JPEG, WebP or GIF picture\n"
