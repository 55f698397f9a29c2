"""What passes a step takes, and that those of one batch are what they are in turn."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from codi.backbones.codi_v1.pipeline import JointGuidance
from codi.conditioning import SHARED_WIDTH, beside, null, stacked
from codi.guidance import Guidance
from codi.modality import registry
from codi.sampling import TOGETHER, Track, guided
from codi.types import ClipSpec, Denoised, Tokens

NAMES = tuple(registry())


def tokens(count: int, seed: int, weighed: bool = False) -> Tokens:
    """Two samples' prompt; weighed, with an input that counts less and one that is taken out."""
    states = torch.randn(2, count, SHARED_WIDTH, generator=torch.Generator().manual_seed(seed))
    bias = torch.linspace(0, -3, count).expand(2, -1).clone()
    bias[:, 1] = -torch.inf
    return Tokens(states, None, bias if weighed else None)


class Rows:
    """An engine whose denoiser tells of each row what it was given: its latent, its prompt and its partners."""

    environment = None

    def __init__(self):
        self.prompts = set()

    def denoiser(self, latent, level, prompt, clock, partners=None):
        self.prompts.add(id(prompt.states))
        read = 0.0 if partners is None else partners.states.sum((1, 2)) * partners.bias.exp().sum(1)
        said = prompt.states.sum((1, 2)) if prompt.bias is None else (prompt.states.sum(2) * prompt.bias.exp()).sum(1)
        return Denoised((level * (1 + 10 * said + 1000 * read))[:, None] * latent, latent + said[:, None])


@pytest.fixture
def taken(pipe, monkeypatch):
    """Of each denoiser, how many samples each of its passes had, and whether they read partners."""
    found: dict[str, list[tuple[int, bool]]] = {name: [] for name in NAMES}
    for name in NAMES:
        denoiser = type(pipe.engine(name).denoiser)
        run = denoiser.__call__

        def call(self, latent, level, prompt, clock, partners=None, name=name, run=run):
            if self is pipe.engine(name).denoiser:
                found[name].append((len(latent), partners is not None))
            return run(self, latent, level, prompt, clock, partners)

        monkeypatch.setattr(denoiser, "__call__", call)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "other", [null(2, torch.zeros(())), tokens(24, 1, weighed=True), tokens(16, 1), tokens(8, 1, weighed=True)]
)
def test_prompts_of_any_length_in_one_batch_are_followed_as_in_turn(pipe, name, other):
    engine, clip, prompt = pipe.engine(name), ClipSpec(), beside(tokens(8, 0), [tokens(8, 2)])
    latent = torch.randn(2, *engine.latent_shape(clip), generator=torch.Generator().manual_seed(3))
    level, clock = torch.tensor([0.7, 0.4]), engine.clock(clip)
    with torch.no_grad():
        turns = [engine.denoiser(latent, level, asked, clock) for asked in (prompt, other)]
        batch = engine.denoiser(
            latent.repeat(2, *[1] * (latent.ndim - 1)), level.repeat(2), stacked([prompt, other]), clock
        )
        for alone, part in zip(turns, batch.chunk(2), strict=True):
            torch.testing.assert_close(part.sample, alone.sample, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(part.features, alone.features, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(turns[0].sample, turns[1].sample, atol=1e-4)


@pytest.mark.parametrize(
    "guidance", [Guidance(3.0, 2.0), Guidance(3.0, 3.0), JointGuidance(bridge=0.5), JointGuidance()]
)
@pytest.mark.parametrize("samples", [2, TOGETHER])
def test_a_guided_prediction_is_the_sum_of_its_terms_whatever_is_one_batch(guidance, samples):
    engine, of = Rows(), lambda *values: torch.tensor(values, dtype=torch.float64).repeat(samples // 2)[:, None, None]
    said, nothing = Tokens(of(1, 2)), Tokens(of(-3, 5).expand(-1, 2, -1))
    partners = Tokens(of(7, 11), bias=of(0, -1)[..., 0])
    latent = torch.arange(1.0, samples + 1, dtype=torch.float64)[:, None]
    steps = FlowMatchEulerDiscreteScheduler()
    steps.set_timesteps(4)
    track = Track(engine, latent, torch.zeros(1), said, nothing, steps)
    for index, heard in enumerate([{}, {"text": Tokens(of(13, 17))}, {}]):
        track.hear(heard)
        level = track.level(index)
        for beside_somebody in (None, partners):
            expected = torch.zeros_like(latent)
            for term in guidance.terms(beside_somebody is not None):
                prompt, read = track.prompted if term.prompted else nothing, beside_somebody if term.bridged else None
                expected += term.weight * engine.denoiser(latent, level, prompt, None, read).sample
            torch.testing.assert_close(guided(track, index, beside_somebody, guidance), expected)
            track.kept = (-1, {})


@pytest.mark.parametrize("bridge", [0.5, 1.0])
def test_what_is_one_batch_is_the_same_prompt_in_every_step(bridge):
    engine, said, nothing = Rows(), Tokens(torch.ones(1, 1, 4)), Tokens(torch.zeros(1, 1, 4))
    steps = FlowMatchEulerDiscreteScheduler()
    steps.set_timesteps(4)
    track = Track(engine, torch.ones(1, 3), torch.zeros(1), said, nothing, steps)
    for index in range(4):
        guided(track, index, Tokens(torch.ones(1, 2, 4), bias=torch.zeros(1, 2)), JointGuidance(bridge=bridge))
    assert len(engine.prompts) == 1, "a backbone may keep what it made of it"


@pytest.mark.parametrize("name", NAMES)
def test_a_guided_step_of_one_output_is_one_batch(pipe, taken, name):
    pipe("a ball", [name], num_inference_steps=3, seed=0)
    assert taken[name] == [(2, False)] * 3
    taken[name].clear()
    pipe("a ball", [name], num_inference_steps=3, seed=0, guidance_scale=1)
    assert taken[name] == [(1, False)] * 3


def test_a_guided_step_beside_a_partner_is_two(pipe, taken):
    asked = {"guidance_interval": 2, "guidance_scale": 2, "bridge_scale": 3, "bridge_start": 0, "bridge_end": 1}
    pipe("a ball", ["image", "audio"], num_inference_steps=4, seed=0, companions=(), **asked)
    # Without the prompt at every other step; what partners tell in every one.
    assert taken["image"] == taken["audio"] == [(2, False), (1, True), (1, False), (1, True)] * 2
