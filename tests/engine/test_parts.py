"""Small properties of the engine's parts."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from codi import CoDiPipeline
from codi.defaults import CODI_MINI, Company, Defaults, Following, Rule
from codi.guidance import Guidance
from codi.manifest import write_manifest
from codi.networks.patch_autoencoder import PatchAutoencoder
from codi.request import resolve
from codi.schedule import Noise
from codi.types import At, ClipSpec, InputError, Part


def test_guidance_terms_sum_to_one_and_drop_what_weighs_nothing():
    for prompt, bridge in ((3.0, 2.0), (1.0, 1.0), (0.0, 0.0), (7.5, 0.5)):
        for partners in (True, False):
            terms = Guidance(prompt, bridge).terms(partners)
            assert math.isclose(sum(term.weight for term in terms), 1.0)
            assert all(term.weight for term in terms)
            assert partners or not any(term.bridged for term in terms)
    assert len(Guidance(1.0, 1.0).terms(True)) == 1


def test_noise_depends_on_seed_plus_sample_and_modality_alone():
    batch = Noise(4, "audio").white((3,), 3)
    assert torch.equal(batch[2], Noise(6, "audio").white((3,), 1)[0])
    assert not torch.equal(batch[0], Noise(4, "video").white((3,), 1)[0])


def test_an_autoencoder_started_from_principal_components_beats_one_that_is_not():
    torch.manual_seed(0)
    ramps = torch.linspace(-1, 1, 16) * torch.randn(64, 1, 16, 1)[:, :, :1] + torch.zeros(16, 1)
    model = PatchAutoencoder(channels=1, patch=(4, 4), widths=(16, 16), latent_channels=4)
    with torch.no_grad():
        before = (model(ramps) - ramps).square().mean()
        model.start_from_principal_components(ramps)
        after = (model(ramps) - ramps).square().mean()
    assert after < 0.2 * before
    assert model.encode(ramps).shape == (64, 4, 2, 2)


def call(**changes):
    options = {
        "inputs": "a",
        "outputs": ["image"],
        "given": None,
        "seed": 0,
        "steps": None,
        "guidance_scale": None,
        "bridge_scale": None,
        "negative": None,
        "weights": None,
        "samples": 1,
        "clip": ClipSpec(),
        "scheduler": None,
    }
    return resolve(**(options | changes))


def test_new_noise_is_of_all_outputs_or_by_modality():
    pair, levels = {"outputs": ["image", "audio"], "companions": []}, {}
    for asked in (None, 0.5, {"image": 0.9}):
        made = call(**pair, bridge_renewal=asked)
        levels[str(asked)] = [made.guidance[name].renewal for name in pair["outputs"]]
        assert made.parameters["bridge_renewal"] == dict(zip(pair["outputs"], levels[str(asked)], strict=True))
    assert levels == {"None": [1.0, 0.7], "0.5": [0.5, 0.5], "{'image': 0.9}": [0.9, 0.7]}
    assert call(outputs=["audio", "video"]).parameters["bridge_renewal"] == {"video": 1.0, "audio": 0.7}
    own = call(**pair, defaults=Defaults(20, Guidance(renewal=0.3), renewal={"audio": 0.2}))
    assert [scale.renewal for scale in own.guidance.values()] == [0.3, 0.2]


def test_all_but_a_picture_are_guided_less_where_they_are_made_together_with_others():
    pair = {"outputs": ["video", "audio"], "companions": []}

    def scales(**asked):
        return [scale.prompt for scale in call(**{**pair, **asked}).guidance.values()]

    assert scales() == [1.5, 1.5]
    assert scales(outputs=["video", "audio", "text"]) == [1.5, 1.0, 1.25]
    assert scales(given={"text": 1}) == [1.5, 1.0] and scales(companions=["text"]) == [1.5, 1.0, 1.25]
    assert scales(outputs=["text", "audio"], given={"video": 1}) == [1.25, 1.0]
    assert scales(outputs=["text"]) == scales(outputs=["text"], given={"video": 1}) == [3.0]
    assert scales(outputs=["video", "text"]) == [2.25, 1.25]
    assert scales(outputs=["video", "image"], companions=["text"]) == [2.25, 3.0, 1.25]
    assert scales(outputs=["video", "text"], bridge_prompting=0.0) == [1.5, 1.25], "a text that tells nothing"
    assert scales(outputs=["image", "audio"]) == [3.0, 1.0]
    assert scales(outputs=["video"]) == [3.0]
    assert scales(bridge_scale=0.0) == scales(bridge_start=0.5, bridge_end=0.5) == [3.0, 3.0]
    assert scales(outputs=["image", "audio"], negative="b") == [3.0, 3.0]  # what is not guided can refuse nothing
    assert scales(negative="b") == [1.5, 1.5]
    assert scales(bridge_start={"audio": 0.9}) == [3.0, 1.5]  # nobody whom the clip could read before it ends
    assert scales(guidance_scale=3.0) == scales(guidance_scale={"video": 3.0, "audio": 3.0}) == [3.0, 3.0]
    assert scales(guidance_scale={"audio": 4.0}) == [1.5, 4.0]
    assert scales(defaults=replace(CODI_MINI, beside={})) == [3.0, 3.0]
    assert call(**pair).parameters["guidance_scale"] == {"video": 1.5, "audio": 1.5}


def test_a_text_follows_what_is_made_with_it_less_than_what_is_given():
    def scales(outputs, **asked):
        return call(outputs=outputs, companions=(), **asked).parameters["bridge_scale"]

    assert scales(["text", "image"]) == {"text": 1.0, "image": 3.0}
    assert scales(["text", "image"], given={"audio": 1}) == {"text": 1.0, "image": 3.0}
    assert scales(["text"], given={"audio": 1}) == {"text": 3.0}
    assert call(outputs=["image", "audio"]).parameters["bridge_scale"] == {"image": 3.0, "audio": 3.0, "text": 1.0}
    assert scales(["text", "image"], bridge_scale=2.0) == {"text": 2.0, "image": 2.0}
    assert scales(["text", "image"], bridge_scale={"image": 2.0}) == {"text": 1.0, "image": 2.0}
    assert scales(["text", "image"], defaults=replace(CODI_MINI, bridge={})) == {"text": 3.0, "image": 3.0}


def test_the_first_scale_that_holds_counts():
    rules = (Rule(2.0, among=("text", "image")), Rule(1.5, among=("video",), without=("text", "image")), Rule(1.0))
    defaults = Defaults(20, Guidance(), beside={"audio": rules})

    def scale(*others, joined=True):
        return defaults.of("audio", joined, Company(others)).prompt

    assert scale("text", "image") == scale("text", "image", "video") == 2.0
    assert scale("video") == 1.5
    assert scale("text") == scale("text", "video") == scale("image", "video") == 1.0
    assert scale() == scale("video", joined=False) == 3.0
    assert replace(defaults, beside={"audio": rules[:2]}).of("audio", True, Company(("text",))).prompt == 3.0
    told = ["2 with text and image", "1.5 with video without text or image", "1 with others"]
    assert [str(one) for one in rules] == told


def test_a_clip_is_guided_less_to_a_given_sound_and_no_other_output_to_what_is_given():
    def scales(outputs, **asked):
        return [scale.prompt for scale in call(outputs=outputs, **asked).guidance.values()]

    assert scales(["video"], given={"audio": 1}) == scales(["video"], given={"audio": 1, "image": 1}) == [1.75]
    assert scales(["video"], given={"image": At(1, 0.5)}) == scales(["video"], given={"text": 1}) == [3.0]
    assert scales(["audio"], given={"video": 1}) == scales(["image"], given={"audio": 1}) == [3.0]
    assert scales(["video"], given={"audio": 1}, bridge_scale=0.0) == [3.0], "it reads nobody"
    own = {"audio": Part(1, spans=((0.0, 1.0),))}
    assert scales(["video", "audio"], given=own, bridge_start={"audio": 0.9}) == [3.0, 1.5], "none is given but its own"
    assert scales(["video", "text"], given={"audio": 1}) == [1.5, 1.25]
    told = {"inputs": {"image": 1}, "given": {"text": 1}, "companions": ()}
    assert scales(["video", "image"], **told) == [2.25, 3.0], "words that stand prompt it too"
    assert scales(["video", "audio"], **told) == [1.5, 1.0]
    assert scales(["video"], given={"audio": 1}, guidance_scale=2.0) == [2.0]


def test_outputs_that_bridges_join_look_without_the_prompt_at_every_other_step():
    def intervals(outputs=("video", "audio"), **asked):
        return list(call(outputs=list(outputs), **asked).parameters["guidance_interval"].values())

    assert intervals() == [2, 2] and intervals(["video"]) == [1]
    assert intervals(["video"], given={"audio": 1}) == intervals(["audio"], bridge_scale=0.0) == [1]
    assert intervals(bridge_scale=0.0) == intervals(guidance_interval=1) == [1, 1]
    assert intervals(bridge_scale={"audio": 0.0}) == [2, 1]
    assert intervals(guidance_interval=3) == [3, 3]
    assert intervals(guidance_interval={"video": 1}) == [1, 2]
    assert intervals(defaults=Defaults(20, Guidance())) == [1, 1]


def test_bridges_act_where_they_are_told_to_and_else_where_the_modality_does():
    def spans(**asked):
        guidance = call(outputs=["video", "audio"], **asked).guidance
        return [(guidance[name].start, guidance[name].end) for name in ("video", "audio")]

    own = CODI_MINI.spans["video"]
    assert spans() == [own, (0.0, 1.0)]
    assert spans(bridge_start=0.5) == [(0.5, 1.0)] * 2
    assert spans(bridge_end=0.5) == [(0.0, 0.5)] * 2
    assert spans(bridge_start={"audio": 0.1}, bridge_end=0.2) == [(0.0, 0.2), (0.1, 0.2)]
    assert spans(bridge_end={"audio": 0.2}) == [own, (0.0, 0.2)]
    assert spans(bridge_start=None, bridge_end={"video": None}) == spans()
    assert spans(defaults=replace(CODI_MINI, spans={})) == [(0.0, 1.0)] * 2
    assert call(outputs=["video"], bridge_end=0.5).parameters["bridge_end"] == {"video": 0.5}
    # A text is settled before a picture is.
    assert call(outputs=["text", "image"]).parameters["bridge_end"] == {"text": 0.5, "image": 0.55}


def test_bridges_cease_earlier_in_some_company():
    def end(output, *others, given=(), **asked):
        stands, prompts = {name: 1 for name in given}, {"image": 1}
        made = call(inputs=prompts, outputs=[output, *others], given=stands, companions=(), **asked)
        return made.guidance[output].end

    assert end("audio") == 1
    assert end("audio", "text") == end("audio", "text", "image") == end("audio", given=["image"]) == 0.55
    assert end("audio", "video") == end("audio", "text", "video") == end("audio", "text", given=["video"]) == 1
    assert end("image", "text") == end("image", given=["text"]) == 0.55
    assert end("image", "text", "audio") == end("image", "video", given=["text"]) == 0.75
    assert end("image", "audio") == end("image", "audio", "video") == end("image", given=["video"]) == 1
    assert end("video", "text") == end("video", "image", given=["text"]) == 0.55
    assert end("video", "audio", "text") == end("video", "image", "audio", given=["text"]) == 0.75
    assert end("video", "image") == end("video", "audio") == end("video", given=["audio"]) == 0.85
    assert end("audio", "text", bridge_end=1.0) == 1 and end("audio", "text", bridge_end={"text": 0.2}) == 0.55
    assert end("audio", "text", defaults=replace(CODI_MINI, spans={"audio": (0.0, 0.3)})) == 0.3
    # A companion is there too.
    assert call(outputs=["image", "video"]).parameters["bridge_end"] == {"image": 0.75, "video": 0.55, "text": 0.5}


def test_a_text_that_does_not_prompt_ends_no_bridges():
    def end(*outputs, **asked):
        return call(outputs=list(outputs), companions=(), **asked).guidance["video"].end

    assert end("video", "text", bridge_prompting=0.0) == end("video", "text", bridge_prompting={"text": 0.0}) == 0.85
    assert end("video", "text", bridge_prompting={"video": 0.5}) == 0.55
    assert end("video", given={"text": 1}, weights={"text": 0.0}) == 0.85
    assert end("video", given={"text": 1}, inputs={"text": "a ball"}) == 0.85, "the input prompts in its place"
    assert end("video", given={"text": 1}, inputs={"image": 1}) == 0.55


def test_the_first_early_end_that_holds_counts():
    early = (Rule(0.6, prompted=("text", "image")), Rule(0.2, without=("video",)))
    defaults = Defaults(20, Guidance(), ends={"audio": early})

    def end(*others, prompting=()):
        return defaults.of("audio", True, Company(others, (), prompting)).end

    both = ("text", "image")
    assert end(*both, prompting=both) == end(*both, "video", prompting=both) == 0.6
    assert end(*both, prompting=["text"]) == end("text") == 0.2
    assert end() == end("video") == end(*both, "video") == 1.0
    assert [str(one) for one in early] == ["0.6 prompted by text and image", "0.2 without video"]


FOLLOWING = {"audio": Following(2.0, renewal=0.8), "text": Following(1.5)}


def test_of_several_givens_the_least_scale_counts():
    defaults = Defaults(20, Guidance(), following={"video": FOLLOWING})
    assert defaults.of("video", False, Company(("audio", "text"), ("audio", "text"))).prompt == 1.5
    assert defaults.of("video", False, Company(("audio", "text"), ("audio",))).prompt == 2.0


@pytest.mark.parametrize(
    ("asked", "renewal"),
    [
        ({"given": {"audio": 1}}, 0.8),
        ({"given": {"audio": 1}, "negative": "a ball"}, 0.8),
        ({"given": {"audio": 1}, "bridge_renewal": 0.5}, 0.5),
        ({"given": {"audio": 1}, "inputs": "a ball"}, 0.3),
        ({"given": {"audio": 1}, "inputs": "a ball", "weights": {"text": 0.0}}, 0.8),
        ({"given": {"audio": 1}, "weights": {"audio": 0.0}}, 0.3),
        ({"given": {"audio": 1}, "inputs": {"audio": 1}}, 0.3),
        ({"given": {"audio": 1, "text": "a ball"}}, 0.3),
        ({"given": {"audio": 1}, "outputs": ["video", "image"]}, 0.3),
        ({"inputs": {"audio": 1}}, 0.3),
        ({"given": {"text": "a ball"}}, 0.3),
        ({}, 0.3),
    ],
)
def test_what_has_nothing_but_a_given_gets_new_noise_of_its_own(asked, renewal):
    defaults = Defaults(20, Guidance(renewal=0.3), following={"video": FOLLOWING})
    made = call(**({"inputs": None, "outputs": ["video"], "defaults": defaults, "companions": []} | asked))
    assert made.guidance["video"].renewal == renewal


def test_a_bundle_from_before_a_part_was_added_is_refused(bundle, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(bundle, old)
    (file,) = (old / "audio_bridge").glob("*.safetensors")
    save_file({name: weight for name, weight in load_file(file).items() if "to_add" not in name}, file)
    write_manifest(old)
    with pytest.raises(InputError, match=r"audio_bridge: lacks \d+ weights"):
        CoDiPipeline.from_pretrained(old)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"outputs": []}, "outputs"),
        ({"outputs": ["smell"]}, "smell"),
        ({"outputs": ["image", "image"]}, "twice"),
        ({"outputs": ["image"], "given": {"image": 1}}, "both given and an output"),
        ({"steps": 0}, "num_inference_steps"),
        ({"samples": 0}, "num_outputs_per_prompt"),
        ({"seed": -1}, "seed"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"bridge_scale": -1.0}, "bridge_scale"),
        ({"bridge_end": 1.5}, "bridge_end"),
        ({"bridge_end": {"image": 1.5}}, "bridge_end image"),
        ({"bridge_start": float("nan")}, "bridge_start"),
        ({"guidance_end": 2.0}, "guidance_end"),
        ({"guidance_interval": 0}, "guidance_interval"),
        ({"bridge_renewal": 1.5}, "bridge_renewal"),
        ({"bridge_renewal": {"image": 2}}, "bridge_renewal image 2"),
        ({"bridge_renewal": {"image": -0.5}}, "bridge_renewal image"),
        ({"bridge_renewal": {"picture": 0.5}}, "bridge_renewal picture"),
        ({"bridge_scale": {"picture": 0.5}}, "bridge_scale picture"),
        ({"weights": {"audio": 1.0}}, "weights audio"),
        ({"weights": {"text": -1.0}}, "weights text"),
        ({"inputs": ["a", {"text": ["a", "b"]}]}, "inputs"),
        ({"inputs": ["a", "b"], "given": [{"audio": 1}, {"audio": 2}, {"audio": 3}]}, "inputs"),
    ],
)
def test_a_bad_call_is_named(changes, named):
    with pytest.raises(InputError, match=named):
        call(**changes)


@pytest.mark.parametrize("numbers", [(0, None, None), (None, -1, None), (None, None, float("nan"))])
def test_a_clip_has_finite_sides(numbers):
    with pytest.raises(InputError):
        ClipSpec.of(*numbers)


def test_a_batch_of_prompts_is_one_sample_each():
    made = call(inputs=["a", "b", "c"], samples=2)
    assert made.samples == 6
    assert [sample["text"] for sample in made.inputs] == [["a"], ["a"], ["b"], ["b"], ["c"], ["c"]]
