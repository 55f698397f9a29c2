"""What Python gives the pipeline: what it takes, and what it refuses in one line."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch

from codi import At, CoDiPipeline, InputError, Part
from codi.media import Audio, Video
from codi.types import CodiWarning
from tests import samples
from tests.engine.test_joint import latents

TONE = np.sin(np.linspace(0, 900, 16_000)).astype(np.float32)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"image": samples.picture() / 255}, r"input image: is float64 \[.*\]; give uint8 \[height, width, 3\]"),
        ({"image": samples.picture()[..., 0]}, r"input image: is uint8 \[48, 64\]; "),
        ({"image": "cat.png"}, "input image: is of type str; "),
        ({"image": At(samples.picture(), 0.5)}, "input image: is of type At; "),
        ({"audio": Audio(TONE, 16_000)}, r"input audio: has samples float32 \[16000\]; "),
        ({"audio": Audio(np.full((1, 9), np.nan, np.float32), 16_000)}, "input audio: holds samples that are NaN"),
        ({"audio": TONE}, r"input audio: is float32 \[16000\]; give a codi.Audio"),
        ({"video": Video(np.empty((0, 64, 64, 3), np.uint8), 8.0)}, "input video: is uint8 .*at least one pixel"),
        ({"video": Video(samples.clip().frames, 0.0)}, "input video: has a rate of 0.0"),
        ({"text": None}, "input text: is of type NoneType; give a string"),
        ({"text": []}, "input text: holds nothing"),
        (5, "inputs: is of type int; give a text, or media by modality"),
    ],
)
def test_media_of_another_form_are_named(pipe, inputs, message):
    with pytest.raises(InputError, match=message):
        pipe(inputs, ["text"], num_inference_steps=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"given": {"text": ["a", "b"]}}, "given text: is of type list; give a string"),
        ({"negative_prompt": {"smell": "a"}}, "smell: is not a modality"),
        ({"negative_prompt": {"image": "a"}}, "negative_prompt image: is of type str"),
        ({"given": {"audio": At(samples.clicks(), 0.5)}}, "given audio: cannot stand at an instant"),
        ({"given": {"video": At(samples.clip(), 0.5)}}, "given video: cannot stand at an instant"),
        ({"size": 64.5}, "size 64.5: is not a whole number"),
        ({"size": 48}, "size 48: is no multiple of 32"),
        ({"duration": "2"}, "duration 2: is not a number above 0"),
        ({"outputs": None}, "outputs: is of type NoneType; give modalities by name"),
    ],
)
def test_arguments_of_another_form_are_named(pipe, arguments, message):
    outputs = arguments.pop("outputs", ["video" if "size" in arguments else "image"])
    with pytest.raises(InputError, match=message):
        pipe("a ball", outputs, num_inference_steps=1, **arguments)


@pytest.mark.parametrize(("name", "size"), [("image", 50), ("video", 48), ("video", 50)])
def test_the_size_of_a_given_is_checked_too(pipe, name, size):
    given = {name: samples.picture() if name == "image" else samples.clip()}
    with pytest.raises(InputError, match=f"size {size}: is no multiple"):
        pipe("a ball", ["audio"], given, num_inference_steps=1, size=size)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        (((0, 2),), "given video: stands until 2 s and lasts 1 s"),
        (((1, 0.5),), r"given video: has a span of \(1, 0.5\)"),
        (((0, float("nan")),), "given video: span nan: is not a number"),
        ((0, 1), "given video: has a span of 0; give pairs of seconds"),
    ],
)
def test_spans_lie_within_their_medium(pipe, spans, message):
    part = Part(samples.clip(frames=8, fps=8.0), spans=spans)
    with pytest.raises(InputError, match=message):
        pipe("a ball", ["video"], {"video": part}, num_inference_steps=1)


def test_a_picture_of_pillow_is_the_picture(pipe):
    asked = {"outputs": ["image"], "num_inference_steps": 1}
    picture = samples.picture()
    array, pillow = (latents(pipe, inputs={"image": one}, **asked) for one in (picture, PIL.Image.fromarray(picture)))
    assert torch.equal(array["image"], pillow["image"])


def test_numbers_of_numpy_are_numbers(pipe):
    made = pipe("a ball", ["text"], seed=np.int64(3), num_inference_steps=np.int32(1), guidance_scale=np.float32(2))
    assert made.recipe["parameters"]["seed"] == 3


def test_weights_are_of_what_prompts_and_not_of_what_is_refused(pipe):
    asked = {"inputs": {"text": "a ball", "image": samples.picture()}, "outputs": ["image"], "num_inference_steps": 1}
    without = latents(pipe, weights={"text": 0.0}, **asked)["image"]
    refused = latents(pipe, weights={"text": 0.0}, negative_prompt="a red star", **asked)["image"]
    assert not torch.allclose(without, refused, atol=1e-4)


def test_a_text_that_is_too_long_is_read_to_its_64th_piece_and_says_so(pipe):
    with pytest.warns(CodiWarning, match=r"only its first 64 word pieces are read"):
        pipe("a " * 70, ["text"], num_inference_steps=1)


def test_parts_that_were_left_out_are_named(bundle):
    some = CoDiPipeline.from_pretrained(bundle, inputs=["text"], outputs=["text"])
    some.set_progress_bar_config(disable=True)
    assert some("a ball", ["text"], num_inference_steps=1).text is not None
    for arguments in (("a ball", ["audio"]), ({"image": samples.picture()}, ["text"])):
        with pytest.raises(InputError, match=r"_.*: was left out when the bundle was loaded"):
            some(*arguments, num_inference_steps=1)


def test_one_modality_to_load_is_named_without_a_list(bundle):
    named = {"given": "audio", "outputs": "video", "inputs": "text"}
    one = CoDiPipeline.from_pretrained(bundle, **named)
    several = CoDiPipeline.from_pretrained(bundle, **{name: [modality] for name, modality in named.items()})
    loaded = lambda pipe: {name for name, part in pipe.components.items() if part is not None}  # noqa: E731
    assert loaded(one) == loaded(several) and "video_denoiser" in loaded(one)


@pytest.mark.parametrize("argument", ["inputs", "given", "outputs", "companions"])
@pytest.mark.parametrize(
    ("named", "told"),
    [
        (5, r"is of type int; give modalities by name"),
        ("", r"^: is not a modality; choose among "),
        ([["video"]], r"^\['video'\]: is not a modality"),
    ],
)
def test_what_is_to_be_loaded_is_named(bundle, argument, named, told):
    told = f"^{argument}: {told}" if named == 5 else told
    with pytest.raises(InputError, match=told):
        CoDiPipeline.from_pretrained(bundle, **{"outputs": ["video"], argument: named})


@pytest.mark.parametrize("argument", ["inputs", "given", "outputs", "companions"])
def test_what_is_to_be_loaded_must_be_a_modality(bundle, argument):
    with pytest.raises(InputError, match=r"^smell: is not a modality; choose among audio, image, text, video$"):
        CoDiPipeline.from_pretrained(bundle, **{"outputs": ["video"], argument: ["smell"]})


def test_a_component_that_is_replaced_is_the_one_that_runs(bundle):
    own = CoDiPipeline.from_pretrained(bundle, torch_dtype=torch.float32)
    before = latents(own, inputs="a ball", outputs=["image"])["image"]
    own.image_denoiser = type(own.image_denoiser).from_config(own.image_denoiser.config).eval()
    assert not torch.allclose(before, latents(own, inputs="a ball", outputs=["image"])["image"], atol=1e-3)
