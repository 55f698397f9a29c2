"""`codi train bridge`: the loss falls, the bases stay."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from codi import CoDiPipeline
from codi.apps import cli
from codi.worlds.sounding_shapes.preview import preview


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A few scenes as clips with sound and captions."""
    folder = tmp_path_factory.mktemp("clips")
    preview(folder, count=4)
    return folder


def validation(log: Path) -> float:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return next(row["validation"]["loss"] for row in rows if "validation" in row)


def trained(bundles, clips: Path, runs: Path, monkeypatch, steps: int) -> tuple[Path, float]:
    monkeypatch.setenv("CODI_RUNS", str(runs))
    target = runs / f"bundle{steps}"
    options = ["--data", str(clips), "--to", str(target), "--outputs", "video", "audio", "--size", "16"]
    settings = ["--steps", str(steps), "--batch", "4", "--lr", "5e-3"]
    assert cli.run(["train", "bridge", "--model", str(bundles["partner"]), *options, *settings]) == 0
    return target, validation(runs / f"bridge_bundle{steps}" / "log.jsonl")


def test_the_loss_falls_and_the_bases_files_are_the_same(bundles, clips, tmp_path, monkeypatch):
    _, before = trained(bundles, clips, tmp_path, monkeypatch, steps=1)
    target, after = trained(bundles, clips, tmp_path, monkeypatch, steps=20)
    assert after < 0.9 * before
    old, new = (json.loads((f / "manifest.json").read_text())["files"] for f in (bundles["partner"], target))
    changed = {Path(name).parts[0] for name in old if old[name] != new.get(name)}
    assert old.keys() == new.keys()
    assert changed == {
        *("audio_environment", "audio_readers", "image_environment", "image_readers", "video_environment_frames")
    }
    pipe = CoDiPipeline.from_pretrained(target, inputs=["text"], outputs=["video", "audio"])
    pipe.set_progress_bar_config(disable=True)
    made = pipe("a ball", outputs=["video", "audio"], num_inference_steps=1, duration=0.64, fps=5, size=16)
    assert made.video.frames.shape == (3, 16, 16, 3)


def test_what_cannot_be_trained_is_one_line(bundles, clips, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    partner, to = ("--model", str(bundles["partner"])), ("--to", str(tmp_path / "new"))
    for options, word in (
        (("--model", str(bundles["official"]), "--data", str(clips), *to, "--size", "16"), "partner"),
        ((*partner, "--data", str(tmp_path / "empty"), *to), "no clips"),
        ((*partner, "--data", str(tmp_path / "gone"), *to), "gone"),
        ((*partner, "--data", str(clips), *to, "--outputs", "video"), "fewer than two"),
        ((*partner, "--data", str(clips), "--to", str(tmp_path / "empty")), "exists"),
    ):
        assert cli.run(["train", "bridge", *options]) == 2
        printed = capsys.readouterr().err
        assert word in printed and len([line for line in printed.splitlines() if word in line]) == 1
        assert os.listdir(tmp_path) == ["empty"]
