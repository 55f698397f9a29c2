"""What passes a step takes, and that those of one batch are what they are in turn."""

from __future__ import annotations

import pytest
import torch

from codi.conditioning import SHARED_WIDTH, beside, null, stacked
from codi.modality import registry
from codi.types import ClipSpec, Tokens

NAMES = tuple(registry())


def tokens(count: int, seed: int, bias: float | None = None) -> Tokens:
    states = torch.randn(2, count, SHARED_WIDTH, generator=torch.Generator().manual_seed(seed))
    return Tokens(states, None, None if bias is None else torch.full((2, count), bias))


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
@pytest.mark.parametrize("other", [null(2, torch.zeros(())), tokens(24, 1), tokens(8, 1), tokens(16, 1, -0.5)])
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
