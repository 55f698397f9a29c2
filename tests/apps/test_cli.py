"""The command `codi` around a pipeline that is a stub: what reaches it, what is written, what is replayed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from codi.apps import cli, recipe, request
from codi.modalities.image import media as image
from codi.modalities.video import media as video
from codi.types import At
from tests import samples

ROOT = Path(cli.__file__).parents[2]


class Stub:
    """Stands for the pipeline: keeps the requests, makes media from the seed."""

    def __init__(self) -> None:
        self.requests: list[request.Request] = []
        self.threads: list[int | None] = []

    def __call__(self, wanted: request.Request, bundle: Path, threads: int | None = None) -> Any:
        self.requests.append(wanted)
        self.threads.append(threads)
        seed, count = wanted.parameters["seed"], wanted.count
        made = {
            "text": f"caption {seed}",
            "image": samples.picture() // 2 + np.uint8(seed),
            "audio": samples.clicks(),
            "video": samples.clip(),
        }
        several = {name: media if count == 1 else [media] * count for name, media in made.items()}
        resolved = {
            "num_inference_steps": 12,
            "guidance_scale": 3.0,
            "companions": [],
            "bridge_prompting": 0.0,
            "guidance_interval": 1,
        }
        return SimpleNamespace(**several, recipe={"parameters": resolved})


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub()
    monkeypatch.chdir(tmp_path)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "model_index.json").write_text('{"_class_name": "CoDiPipeline"}')
    save_file({"a": np.zeros((3, 4), np.float16)}, bundle / "w.safetensors")
    image.write(samples.picture(), tmp_path / "cat.png", None)
    monkeypatch.setattr(request, "run", stub)
    monkeypatch.setattr(request, "_threads", lambda: 2)
    return stub


def codi(*arguments: str, status: int = 0) -> None:
    model = [] if arguments[0] in ("show", "rerun", "world") else ["--model", "bundle"]
    assert cli.run([*arguments, *model]) == status


def test_all_four_outputs(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    codi("generate", "--inputs", "text=a red circle", "image=cat.png", "--outputs", "text", "image", "audio", "video")
    expected = ["out/text.txt", "out/image.png", "out/audio.wav", "out/video.mp4"]
    assert capsys.readouterr().out.split() == expected
    assert sorted(os.listdir("out")) == ["audio.wav", "image.png", "text.json", "text.txt", "video.mp4"]
    assert video.read(Path("out/video.mp4")).audio is not None
    assert stub.requests[0].parameters == {"seed": 0, "num_outputs_per_prompt": 1}


def test_every_option_reaches_the_pipeline(stub: Stub) -> None:
    codi(
        *("generate", "--inputs", "text=a", "cat.png", "--given", "image@0.5=cat.png", "--outputs", "video", "audio"),
        *("--out", "deep/er", "--seed", "3", "--steps", "4", "--guidance", "2", "--bridge", "0", "--num", "2"),
        *("--negative", "text=b", "--weights", "text=1,image=.5", "--duration", "1.5", "--fps", "4", "--size", "32"),
        *("--bridge-start", "0.25", "--bridge-end", "0.5", "--guidance-end", "0.75"),
        *("--guidance-interval", "3", "--bridge-renewal", "0.9", "--bridge-prompting", "0.2"),
        *("--companions", "text"),
        *("--scheduler", "ddim", "--device", "cpu", "--dtype", "bfloat16"),
    )
    (wanted,) = stub.requests
    assert wanted.parameters == {
        **{"seed": 3, "num_inference_steps": 4, "guidance_scale": 2.0, "bridge_scale": 0.0},
        **{"num_outputs_per_prompt": 2, "duration": 1.5, "fps": 4.0, "size": 32, "scheduler": "ddim"},
        "weights": {"text": 1.0, "image": 0.5},
        **{"bridge_start": 0.25, "bridge_end": 0.5, "guidance_end": 0.75},
        **{"guidance_interval": 3, "bridge_renewal": 0.9, "bridge_prompting": 0.2, "companions": ["text"]},
    }
    assert isinstance(wanted.given[0].placed, At)
    assert [source.media for source in wanted.negative] == ["b"]
    assert (wanted.dtype, wanted.device, wanted.outputs) == ("bfloat16", "cpu", ("video", "audio"))
    assert sorted(os.listdir("deep/er")) == ["audio_0.wav", "audio_1.wav", "video_0.mp4", "video_1.mp4"]


def test_companions_are_none_or_any_where_that_is_said(stub: Stub) -> None:
    codi("generate", "--inputs", "a", "--outputs", "image", "video", "--companions", "none")
    codi("generate", "--inputs", "a", "--outputs", "image", "video", "--companions", "text", "audio")
    codi("generate", "--inputs", "a", "--outputs", "image", "video")
    assert [wanted.parameters.get("companions") for wanted in stub.requests] == [[], ["text", "audio"], None]


def test_a_recipe_from_before_there_were_companions_has_none(stub: Stub) -> None:
    kept = {"model": "bundle", "inputs": [], "outputs": ["image", "video"], "parameters": {"seed": 1}}
    assert recipe.request(kept, "clip.mp4").parameters == {
        "seed": 1,
        "companions": [],
        "bridge_prompting": 0.0,
        "guidance_interval": 1,
    }


def test_the_same_seed_gives_the_same_bytes(stub: Stub) -> None:
    for out in ("a", "b"):
        codi("generate", "--inputs", "a", "--outputs", "text", "image", "audio", "video", "--out", out)
    for name in os.listdir("a"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_existing_files_are_replaced_whole(stub: Stub) -> None:
    Path("out").mkdir()
    Path("out/text.txt").write_text("old")
    codi("generate", "--inputs", "a", "--outputs", "text")
    assert Path("out/text.txt").read_text() == "caption 0\n"


def test_a_given_clip_is_scored_with_its_packets_kept(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    samples.ffmpeg_file(Path("clip.mp4"), *samples.test_card())
    codi("generate", "--given", "video=clip.mp4", "--outputs", "audio")
    assert capsys.readouterr().out.split() == ["out/audio.wav", "out/video.mp4"]
    scored = video.read(Path("out/video.mp4"))
    assert np.array_equal(scored.frames, video.read(Path("clip.mp4")).frames) and scored.audio is not None


def test_the_recipe_names_what_went_in(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    codi("generate", "--inputs", "text=a", "cat.png", "--outputs", "image", "--seed", "7")
    recipe = json.loads(image.read_recipe(Path("out/image.png")) or "")
    assert recipe["inputs"][0] == {"modality": "text", "value": "a"}
    assert recipe["inputs"][1]["path"] == "cat.png" and len(recipe["inputs"][1]["sha256"]) == 64
    assert recipe["parameters"]["seed"] == 7 and recipe["parameters"]["num_inference_steps"] == 12
    assert recipe["versions"]["torch"] and len(recipe["bundle"]) == 64
    capsys.readouterr()
    codi("show", "out/image.png")
    printed = capsys.readouterr().out
    assert printed.startswith("out/image.png: image, 48 x 64 x 3\n") and '"seed": 7' in printed


def test_no_recipe(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    codi("generate", "--inputs", "a", "--outputs", "text", "image", "audio", "video", "--no-recipe")
    assert "text.json" not in os.listdir("out")
    for name in ("text.txt", "image.png", "audio.wav", "video.mp4"):
        codi("rerun", f"out/{name}", status=2)
        assert f"out/{name}: carries no recipe" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["text.txt", "image.png", "audio.wav", "video.mp4"])
def test_rerun_replays_any_of_the_files(name: str, stub: Stub) -> None:
    codi(
        *("generate", "--inputs", "text=a", "cat.png", "--given", "text=b", "--outputs", "image", "audio", "video"),
        *("--seed", "5", "--negative", "c"),
    ) if name != "text.txt" else codi("generate", "--inputs", "cat.png", "--outputs", "text", "--seed", "5")
    codi("rerun", f"out/{name}")
    first, second = stub.requests
    assert stub.threads == [None, 2]
    assert second.parameters["num_inference_steps"] == 12  # what the pipeline had resolved
    assert _remembered(first) == _remembered(second)
    assert sorted(os.listdir("out/rerun")) == sorted(set(os.listdir("out")) - {"rerun"})
    assert Path("out/rerun", name).read_bytes() == Path("out", name).read_bytes()


def _remembered(wanted: request.Request) -> list[Any]:
    sources = [
        [request.remember(source) for source in group] for group in (wanted.inputs, wanted.given, wanted.negative)
    ]
    return [*sources, wanted.outputs, wanted.parameters["seed"], wanted.device, wanted.dtype]


def test_rerun_refuses_an_input_that_has_changed(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    codi("generate", "--inputs", "cat.png", "--outputs", "text")
    image.write(samples.picture()[::-1], Path("cat.png"), None)
    codi("rerun", "out/text.txt", status=2)
    assert "cat.png: is not the file that the recipe was made with" in capsys.readouterr().err


def test_rerun_says_when_the_weights_have_changed(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    codi("generate", "--inputs", "a", "--outputs", "text")
    Path("bundle/manifest.json").write_text("{}\n")
    codi("rerun", "out/text.txt")
    assert "was made with other weights" in capsys.readouterr().err


def test_a_recipe_from_elsewhere_is_refused(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    image.write(samples.picture(), Path("a.png"), '{"model": "m", "inputs": [{"modality": "text"}], "outputs": []}')
    codi("rerun", "a.png", status=2)
    assert "a.png: has a recipe that cannot be replayed" in capsys.readouterr().err


def test_info_counts(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    codi("info")
    printed = capsys.readouterr().out
    assert "w.safetensors" in printed and "12 parameters" in printed and "total" in printed


def test_an_interrupt_leaves_nothing(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(request, "run", interrupted)
    codi("generate", "--inputs", "a", "--outputs", "text", status=130)
    assert "Traceback" not in capsys.readouterr().err and not Path("out").exists()


def test_help_loads_no_model_code() -> None:
    code = (
        "import sys; from codi.apps import cli; status = cli.run(['generate', '--help']); "
        "sys.exit(status or sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--inputs" in done.stdout
