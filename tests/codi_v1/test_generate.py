"""Any set to any set through the pipeline and the command line, on a small bundle."""

from __future__ import annotations

import itertools
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from codi import CoDiPipeline
from codi.apps import cli
from codi.backbones.codi_v1.pipeline import CoDiV1Pipeline
from codi.backbones.codi_v1.pixels import GREY, clip_pixels, square
from codi.backbones.codi_v1.scheduler import scheduler
from codi.modalities.audio import media as audio
from codi.modalities.image import media as image
from codi.modalities.video import media as video
from codi.modality import registry
from codi.types import CodiWarning, InputError
from tests import samples

NAMES = tuple(registry())
SETS = [names for count in range(1, 5) for names in itertools.combinations(NAMES, count)]
SMALL = {"num_inference_steps": 1, "duration": 0.64, "size": 16, "fps": 5.0}
MEDIA = {"text": "a ball", "image": samples.picture(), "audio": samples.clicks(), "video": samples.clip(frames=3)}


def arrays(result, name: str) -> np.ndarray | str:
    made = getattr(result, name)
    return {"audio": lambda m: m.samples, "video": lambda m: m.frames}.get(name, lambda m: m)(made)


@pytest.mark.parametrize("inputs", SETS, ids="+".join)
def test_any_set_of_inputs_prompts_every_output(pipes, inputs):
    result = pipes["official"](inputs={name: MEDIA[name] for name in inputs}, outputs=NAMES, **SMALL)
    assert isinstance(result.text, str)
    assert result.image.shape == (16, 16, 3) and result.video.frames.shape == (3, 16, 16, 3)
    assert result.audio.samples.shape == (1, round(0.64 * 16_000)) and result.audio.rate == 16_000


@pytest.mark.parametrize("outputs", SETS, ids="+".join)
def test_any_set_of_outputs_comes_out(pipes, outputs):
    result = pipes["official"]("a ball", outputs=outputs, **SMALL)
    assert tuple(result.media) == outputs


@pytest.mark.parametrize("name", NAMES)
def test_an_input_matters_and_so_does_its_weight(pipes, name):
    def made(**options) -> torch.Tensor:
        kept: dict[str, torch.Tensor] = {}
        pipes["official"](
            outputs=["audio"], callback_on_step_end=lambda _, __, latents: kept.update(latents), **SMALL | options
        )
        return kept["audio"]

    both = {"text": "a ball", name: MEDIA[name]} if name != "text" else {"text": ["a ball", "7 stars"]}
    assert not torch.allclose(made(inputs="a ball"), made(inputs=both), atol=1e-6)
    if name != "text":
        assert torch.allclose(made(inputs="a ball"), made(inputs=both, weights={name: 0}), atol=1e-5)


@pytest.mark.parametrize("frames", range(1, 9))
def test_one_to_eight_frames(pipes, frames):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CodiWarning)
        result = pipes["official"]("a", outputs=["video"], num_inference_steps=1, duration=1, fps=frames, size=16)
    assert result.video.frames.shape == (frames, 16, 16, 3)


def test_more_frames_warn_and_far_more_are_refused(pipes):
    with pytest.warns(CodiWarning, match=r"9 frames.*trained at 8"):
        pipes["official"]("a", outputs=["video"], num_inference_steps=1, duration=1, fps=9, size=16)
    with pytest.raises(InputError, match=r"31 frames.*positions for 30"):
        pipes["official"]("a", outputs=["video"], num_inference_steps=1, duration=1, fps=31, size=16)


@pytest.mark.parametrize("option", ["size", "fps", "duration"])
def test_nought_is_no_default(pipes, option):
    with pytest.raises(InputError, match=option):
        pipes["official"]("a", outputs=["image"], **SMALL | {option: 0})


def test_what_is_made_where_nothing_is_said(pipes):
    pipe = pipes["official"]
    assert pipe.clip(["video"], None, None, None).frames == 8
    assert pipe.clip(["audio"], None, None, None).duration == 10.24
    assert pipe.clip(["audio", "video"], None, None, None).duration == 2.0
    assert pipe.clip(["image"], None, None, None).size == 256
    assert pipe.engine("audio").latent_shape(pipe.clip(["audio"], None, None, None)) == (8, 256, 16)
    assert pipe.defaults.guidance.prompt == 7.5 and pipe.defaults.steps == 50


def test_the_loop_takes_the_release_s_grid(pipes):
    counted = []
    pipes["official"](
        "a", outputs=["audio"], callback_on_step_end=lambda *_: counted.append(1), **SMALL | {"num_inference_steps": 30}
    )
    assert len(counted) == 31
    for steps in (1, 3, 9, 1000):
        grid = scheduler()
        grid.set_timesteps(steps)
        assert grid.timesteps.min() >= 1 and grid.timesteps.max() <= 999


def test_a_picture_is_scaled_once_as_the_processor_of_2022_did():
    picture = samples.picture(90, 120)
    pixels = clip_pixels([picture], 28)
    assert pixels.shape == (1, 3, 28, 28) and pixels.dtype == torch.float32
    # (mean, deviation) by channel of the ramps of `samples.picture`, from transformers' CLIPImageProcessor on PIL.
    expected = torch.tensor(PINNED)
    found = torch.stack([pixels[0].mean(dim=(1, 2)), pixels[0].std(dim=(1, 2))], dim=1)
    assert torch.allclose(found, expected, atol=2e-3)
    grey = clip_pixels([np.full((8, 8, 3), GREY, np.uint8)], 28)
    assert grey.abs().max() < 0.5, "a second rescale would make this about -1.8"


def test_a_picture_is_scaled_as_transformers_scales_it_on_pillow():
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    picture = samples.picture(90, 121)
    theirs = processor(images=picture, return_tensors="pt")["pixel_values"]
    assert torch.allclose(clip_pixels([picture], 28), theirs, atol=1e-5)


PINNED = [[-0.1233, 0.9729], [0.1008, 1.0740], [-0.0242, 0.5245]]


def test_square_keeps_the_middle():
    picture = np.zeros((10, 40, 3), np.uint8)
    picture[:, 15:25] = 255
    assert (square(picture, 10) == 255).mean() > 0.9


@pytest.mark.parametrize(
    ("inputs", "outputs", "loaded"),
    [
        (["text"], ["image"], {"clip_text", "picture_autoencoder", "image_denoiser"}),
        (["audio"], ["text"], {"clap", "optimus_decoder", "text_denoiser"}),
        (
            ["image"],
            ["audio", "video"],
            {
                *("clip_vision", "mel_autoencoder", "audio_vocoder", "audio_denoiser", "audio_environment"),
                *("audio_readers", "picture_autoencoder", "image_denoiser", "video_frames", "image_environment"),
                *("image_readers", "video_environment_frames"),
            },
        ),
    ],
)
def test_only_what_a_request_needs_is_loaded(bundles, capsys, inputs, outputs, loaded):
    pipe = CoDiPipeline.from_pretrained(bundles["official"], inputs=inputs, outputs=outputs)
    networks = {name for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    assert networks == loaded
    assert cli.run(["info", "--model", str(bundles["official"]), "--inputs", *inputs, "--outputs", *outputs]) == 0
    lines = capsys.readouterr().out.splitlines()[1:-1]
    assert {line.split("/")[0] for line in lines} == loaded and all("parameters" in line for line in lines)


def test_info_of_the_whole_bundle(bundles, capsys):
    assert cli.run(["info", "--model", str(bundles["official"])]) == 0
    printed = capsys.readouterr().out
    assert "text_readers" in printed and "clip_frames" in printed and printed.splitlines()[-1].startswith("total")


def test_the_bundle_finds_its_class_and_saves_and_loads(bundles, pipes, tmp_path):
    assert type(pipes["official"]) is CoDiV1Pipeline and pipes["partner"].mode == "partner"
    pipe = CoDiPipeline.from_pretrained(bundles["partner"], inputs=["text"], outputs=["audio"])
    pipe.save_pretrained(tmp_path / "again")
    again = CoDiPipeline.from_pretrained(tmp_path / "again", inputs=["text"], outputs=["audio"])
    again.set_progress_bar_config(disable=True)
    pipe.set_progress_bar_config(disable=True)
    one, two = (arrays(p("a", outputs=["audio"], **SMALL), "audio") for p in (pipe, again))
    assert np.array_equal(one, two)


EVERY = ("text", "image", "audio", "video")
WORDS = ("--steps", "1", "--duration", "0.64", "--fps", "5", "--size", "16")


def test_the_command_line_makes_all_four_from_all_four_and_again(bundles, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image.write(MEDIA["image"], Path("a.png"), None)
    audio.write(MEDIA["audio"], Path("a.wav"), None)
    video.write(MEDIA["video"], Path("a.mp4"), None)
    model = ("--model", str(bundles["official"]))
    inputs = ("--inputs", "text=a ball", "a.png", "a.wav", "a.mp4")
    assert cli.run(["generate", *model, *inputs, "--outputs", *EVERY, *WORDS]) == 0
    assert sorted(os.listdir("out")) == ["audio.wav", "image.png", "text.json", "text.txt", "video.mp4"]
    assert cli.run(["rerun", "out/image.png", "--out", "again"]) == 0
    for name in ("image.png", "audio.wav", "text.txt"):
        assert Path("out", name).read_bytes() == Path("again", name).read_bytes()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--outputs", "video", "--fps", "31", "--duration", "1"), "31 frames"),
        (("--outputs", "image", "--size", "20"), "size 20"),
        (("--outputs", "image", "--given", "text=a"), "official mode"),
        (("--outputs", "image", "--companions", "text"), "companions text: would change nothing: in official mode"),
        (("--outputs", "image", "--scheduler", "Nothing"), "Nothing"),
    ],
)
def test_what_cannot_be_made_is_one_line(bundles, tmp_path, monkeypatch, capsys, options, word):
    monkeypatch.chdir(tmp_path)
    assert (
        cli.run(["generate", "--model", str(bundles["official"]), "--inputs", "text=a", *options, "--steps", "1"]) == 2
    )
    printed = capsys.readouterr().err
    assert word in printed and printed.count("\n") == 1 and not Path("out").exists()


def test_nine_frames_warn_in_one_line(bundles, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ("--steps", "1", "--duration", "1", "--fps", "9", "--size", "16")
    assert (
        cli.run(["generate", "--model", str(bundles["official"]), "--inputs", "text=a", "--outputs", "video", *words])
        == 0
    )
    told = [line for line in capsys.readouterr().err.splitlines() if "trained at 8" in line]
    assert len(told) == 1 and "Warning" not in told[0]


def test_without_the_bundle_its_name_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODI_BUNDLES", str(tmp_path))
    assert cli.run(["info", "--model", "codi-v1"]) == 2
    assert "codi pull codi-v1" in capsys.readouterr().err
