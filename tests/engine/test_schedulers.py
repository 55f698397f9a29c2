"""Other samplers than a bundle's: those that are offered sample what the denoiser predicts."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler

from codi import InputError
from codi.backbones.codi_mini import schedulers
from codi.schedule import Noise, chosen, level_at, prepared, step

STEPS = 12
CPU = torch.device("cpu")
MULTISTEP = ("UniPCMultistepScheduler", "DPMSolverMultistepScheduler")


def levels(scheduler, steps: int = STEPS) -> list[float]:
    own = prepared(scheduler, steps, CPU)
    return [level_at(own, index) for index in range(len(own.timesteps))]


@pytest.mark.parametrize("name", MULTISTEP)
def test_every_sampler_keeps_each_modalitys_shift(name):
    mini = schedulers()
    text, sound, picture = (levels(chosen(mini[f"{m}_scheduler"], name)) for m in ("text", "audio", "image"))
    for early, late in ((text, sound), (sound, picture)):
        assert all(a < b - 0.01 for a, b in zip(early[1:], late[1:], strict=True))


def noise_of(latent: torch.Tensor, clean: torch.Tensor, scheduler, index: int) -> torch.Tensor:
    """What a perfect denoiser that predicts noise would say."""
    kept = scheduler.alphas_cumprod[int(scheduler.timesteps[index])]
    return (latent - kept.sqrt() * clean) / (1 - kept).sqrt()


@pytest.mark.parametrize("name", [*MULTISTEP, "DEISMultistepScheduler", "DDIMScheduler", "DDPMScheduler"])
def test_samplers_of_a_bundle_that_predicts_noise_end_at_what_is_clean(name):
    own = prepared(chosen(DDIMScheduler(clip_sample=False, set_alpha_to_one=True), name), STEPS, CPU)
    noise, clean = Noise(0, "image"), torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    latent = noise.white((1, 8, 8), 1)
    for index in range(STEPS):
        latent = step(own, noise_of(latent, clean, own, index), index, latent, noise)
    assert (latent - clean).abs().mean() < 0.05


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "Nothing"])
def test_samplers_that_would_need_another_latent_or_prediction_are_not_offered(name):
    with pytest.raises(InputError, match=f"scheduler {name}: does not fit this bundle; choose among .*DDIMScheduler"):
        chosen(DDIMScheduler(), name)


def test_a_sample_of_a_sampler_that_adds_noise_is_what_its_seed_alone_gives():
    own, told = chosen(DDIMScheduler(), "DDPMScheduler"), torch.zeros(2, 1, 8, 8)
    both, second = Noise(0, "image"), Noise(1, "image")
    start = both.white((1, 8, 8), 2)
    together = step(prepared(own, STEPS, CPU), told, 0, start, both)
    assert torch.equal(together[1:], step(prepared(own, STEPS, CPU), told[1:], 0, start[1:], second))
    assert not torch.equal(together[0] - start[0], together[1] - start[1])
