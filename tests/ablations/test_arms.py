"""The arms of the comparison, untrained, on the debug bundle: what each lets across, and what it leaves alone."""

import json

import numpy as np
import pytest
import torch

import codi.ablations.arms as arms_module
from codi import sampling
from codi.ablations.arms import build, load_arms
from codi.ablations.components import PositionBridge, between, numbered
from codi.ablations.measure import Setting, pipeline_of
from codi.ablations.small import EXPERT, StreamTransformer, View
from codi.ablations.training import _check, _trained_as, draw_pair
from codi.types import InputError, Tokens
from tests.engine.test_joint import latents

ARMS = load_arms()
TRAINED = [name for name, arm in ARMS.items() if arm.steps]
READERS = [name for name in TRAINED if ARMS[name].join not in ("discriminator", "unified")]
ASKED = {"inputs": "a ball", "outputs": ["video", "audio"], "seed": 3, "bridge_scale": 1.0}


@pytest.fixture(autouse=True)
def untrained_experts(monkeypatch):
    """Small experts that nobody has trained: any weights do for what is tested here."""

    def untrained(name):
        torch.manual_seed(5)
        view = View(StreamTransformer((name,), **EXPERT), name).requires_grad_(False)
        torch.nn.init.normal_(view.inner.leave[name].weight, std=0.1)
        return view

    monkeypatch.setattr(arms_module, "expert", untrained)


def stirred(arm, pipe):
    """Weights that let something across."""
    torch.manual_seed(3)
    made = build(arm, pipe.components)
    return {key: 0.2 * torch.randn_like(value) for key, value in made.modules.state_dict().items()}


@pytest.mark.parametrize("name", READERS)
def test_readers_begin_as_nothing(name, pipe, monkeypatch):
    # In turn: a pass that shares its batch with another rounds otherwise than one that does not.
    monkeypatch.setattr(sampling, "TOGETHER", 0)
    made = pipeline_of(ARMS[name], pipe, build(ARMS[name], pipe.components).modules.state_dict())
    joint = latents(made, **ASKED)
    alone = latents(made if ARMS[name].experts else pipe, **{**ASKED, "bridge_scale": 0.0})
    assert all(torch.allclose(joint[medium], alone[medium], atol=1e-6) for medium in alone)


@pytest.mark.parametrize("name", TRAINED)
def test_the_partner_matters_unless_an_arm_reads_itself(name, pipe):
    made = pipeline_of(ARMS[name], pipe, stirred(ARMS[name], pipe))
    seeds = {**ASKED, "outputs": ["audio"]}
    clips = [pipe("a ball", ["video"], seed=seed, num_inference_steps=2).video for seed in (1, 2)]
    one, two = (latents(made, **seeds, given={"video": clip})["audio"] for clip in clips)
    assert torch.equal(one, two) == ARMS[name].own


@pytest.mark.parametrize("name", TRAINED)
def test_measuring_an_arm_leaves_the_bundle_as_it_was(name, pipe):
    before = latents(pipe, **ASKED)["audio"]
    latents(pipeline_of(ARMS[name], pipe, stirred(ARMS[name], pipe)), **ASKED)
    assert torch.equal(latents(pipe, **ASKED)["audio"], before)


def test_the_index_clock_is_that_of_seconds_at_the_rate_of_training_alone(pipe):
    weights = stirred(ARMS["ours"], pipe)
    seconds, index = (pipeline_of(ARMS["ours"], pipe, weights, join) for join in (None, "index clock"))
    same, apart = ({"fps": fps, **ASKED} for fps in (8, 12))
    assert torch.allclose(latents(seconds, **same)["audio"], latents(index, **same)["audio"], atol=1e-4)
    assert not torch.allclose(latents(seconds, **apart)["audio"], latents(index, **apart)["audio"], atol=1e-4)
    assert torch.allclose(
        numbered((torch.arange(4, dtype=torch.float64) + 0.5) / 12), (torch.arange(4) + 0.5).double() / 8
    )


def test_what_is_added_is_what_the_partner_shows_at_that_moment():
    bridge = PositionBridge({"site": 4})
    for parameter in bridge.readers.parameters():
        torch.nn.init.ones_(parameter)
    states = torch.zeros(1, 8, 192)
    states[:, 4:6] = 3.0  # two slots at the third of four moments
    times = torch.tensor([0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0], dtype=torch.float64)
    moments = torch.tensor([0.0, 1.5, 2.0], dtype=torch.float64)
    read = bridge.read("site", torch.zeros(1, 3, 4), moments, bridge.prepare(Tokens(states, times)))[0, :, 0]
    assert torch.allclose(read[1], (read[0] + read[2]) / 2, atol=1e-4) and not torch.allclose(read[0], read[2])


@pytest.mark.parametrize("rate", [6, 8, 12])
def test_what_lies_between_two_moments_is_linear_and_what_shares_one_counts_alike(rate):
    moments = ((torch.arange(2 * rate, dtype=torch.float64) + 0.5) / rate).repeat_interleave(2)
    asked = torch.tensor([-1.0, 0.7, 1.3, 9.0], dtype=torch.float64)
    share = between(asked, torch.cat([moments, moments]), (len(moments), len(moments)))
    assert torch.allclose(share[:, : len(moments)], share[:, len(moments) :])
    assert torch.equal(share[:, ::2], share[:, 1::2])
    read = share[:, : len(moments)] @ moments
    assert torch.allclose(read, asked.clamp(moments[0], moments[-1]))
    far = (asked[1:3, None] - moments).abs() > 1 / rate
    assert far.any() and not share[1:3, : len(moments)][far].any()


def test_arms_that_add_otherwise_read_otherwise(pipe):
    for one, other in (("ours", "sharp"), ("added", "window"), ("sharp", "plain")):
        weights = {join: stirred(ARMS[join], pipe) for join in (one, other)}
        shared = {key: weights[one][key] for key in weights[other]}
        made = [
            latents(pipeline_of(ARMS[join], pipe, kept), **ASKED)["audio"]
            for join, kept in ((one, weights[one]), (other, shared))
        ]
        assert not torch.allclose(*made, atol=1e-4)


def test_an_arm_from_before_a_setting_was_named_is_the_same_arm(tmp_path):
    asked = _trained_as(ARMS["ours"])
    (tmp_path / "asked.json").write_text(json.dumps({k: v for k, v in asked.items() if k not in ("batch", "lr")}))
    _check(tmp_path, asked)
    assert json.loads((tmp_path / "asked.json").read_text()) == asked
    with pytest.raises(InputError, match="was trained with"):
        _check(tmp_path, {**asked, "steps": 7})


def test_levels_are_drawn_as_an_arm_says():
    for name in ("ours", "same_levels"):
        drawn = [draw_pair(np.random.default_rng(n), 4, ARMS[name]) for n in range(200)]
        same = np.mean([torch.equal(d["video"], d["audio"]) for d in drawn])
        clean = np.mean([not d["video"].any() or not d["audio"].any() for d in drawn])
        assert (same, clean) == (1, 0) if name == "same_levels" else (0.4 < same < 0.6 and 0.1 < clean < 0.3)


def test_a_setting_says_who_stands_and_who_comes_first():
    given = Setting("a", 4, {"given": ["video"], "fps": 12}).cell()
    assert (given.given, given.outputs, given.options) == (("video",), ("audio",), {"fps": 12})
    cascade = Setting("a", 4, {"cascade": "audio"}).cell()
    assert cascade.cascade and cascade.outputs == ("audio", "video")


@pytest.mark.parametrize("name", TRAINED)
def test_experts_are_trained_by_arms_that_say_so_alone(name, pipe):
    trained = dict(build(ARMS[name], pipe.components).modules.named_parameters())
    assert any(key.startswith("video_denoiser.") for key in trained) == bool(ARMS[name].whole)
    assert all(weights.requires_grad for weights in trained.values())
