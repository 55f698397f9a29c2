"""An expert of noise on Stable Diffusion's schedule beside one of flow."""

import pytest
import torch

from codi import schedule
from codi.ablations.experts import (
    KINDS,
    NoiseUNet,
    levelled_scheduler,
    noise_added,
    noise_scheduler,
    paced,
    scales,
    with_expert,
)
from codi.modalities.audio.denoiser import audio_unet
from codi.pipeline import CoDiPipeline


def _pair() -> tuple[torch.nn.Module, NoiseUNet]:
    torch.manual_seed(0)
    flow = audio_unet(widths=(16, 32)).eval()
    noise = NoiseUNet.from_config(flow.config).eval()
    noise.load_state_dict(flow.state_dict())
    return flow, noise


@torch.no_grad()
def test_it_starts_with_the_same_idea_of_what_is_clean():
    flow, noise = _pair()
    latent, prompt, timestep = torch.randn(2, 16, 4, 32), torch.randn(2, 8, 256), torch.tensor([400.0, 990.0])
    signal, spread = scales(timestep, latent)
    level = spread / (signal + spread)
    velocity = flow(latent / (signal + spread), 1000 * level.flatten(), prompt).sample
    clean = latent / (signal + spread) - level * velocity
    told = (latent - spread * noise(latent, timestep, prompt).sample) / signal
    assert torch.allclose(clean, told, atol=1e-3)


def test_its_latents_have_unit_variance_at_every_level_and_a_given_is_clean():
    torch.manual_seed(0)
    clean = torch.randn(4, 16, 4, 32)
    noisy, target, _ = noise_added(clean, torch.tensor([0.0, 0.3, 0.7, 1.0]))
    assert torch.equal(noisy[0], clean[0]) and not torch.equal(noisy[1], clean[1])
    assert torch.allclose(noisy.flatten(1).std(1), torch.ones(4), atol=0.1)
    assert torch.allclose(noisy[3], target[3], atol=0.5)


def test_levelled_it_is_as_noisy_as_flow_wherever_its_schedule_goes():
    level = torch.tensor([0.0, 0.1, 0.5, 0.9])
    counted = KINDS["noise, levelled"].counted(level)
    signal, noise = (x.flatten() for x in scales(1000 * counted, torch.zeros(1)))
    assert counted[0] == 0 and torch.allclose((noise / (signal + noise))[1:], level[1:], atol=2e-3)
    assert torch.equal(KINDS["noise"].counted(level), level)


def test_a_levelled_sampler_falls_at_every_step_and_follows_the_noise_to_what_is_clean():
    sampler = schedule.prepared(levelled_scheduler(), 12, torch.device("cpu"))
    assert (sampler.timesteps.diff() < 0).all() and schedule.begins_anywhere(sampler)
    clean, white = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    latent = schedule.noised(sampler, clean, white, 0)
    for index in range(12):
        latent = schedule.step(sampler, white, index, latent, schedule.Noise(0, "audio"))
    assert torch.allclose(latent, clean, atol=1e-3)


def test_the_bundle_has_its_own_expert(pipe):
    assert with_expert(pipe, KINDS["flow"]) is pipe


@pytest.mark.parametrize("sampler", [noise_scheduler, levelled_scheduler])
def test_it_makes_sounds_beside_clips_of_the_other_kind(pipe, sampler):
    parts = {"audio_denoiser": NoiseUNet.from_config(pipe.audio_denoiser.config), "audio_scheduler": sampler()}
    parts["audio_denoiser"].load_state_dict(pipe.audio_denoiser.state_dict())
    mixed = CoDiPipeline(**{**pipe.components, **parts})
    made = [mixed("a ball", ["video", "audio"], seed=seed, num_inference_steps=3) for seed in (1, 1, 2)]
    sounds = [torch.from_numpy(result.audio.samples) for result in made]
    assert torch.isfinite(sounds[0]).all() and torch.equal(sounds[0], sounds[1])
    assert not torch.equal(sounds[0], sounds[2])


def test_arms_have_samplers_of_their_own_and_keep_those_of_other_modalities(bundle):
    pipe = CoDiPipeline.from_pretrained(bundle)
    own = pipe.image_scheduler.config.shift
    shifts = [getattr(paced(pipe), f"{name}_scheduler").config.shift for name in ("video", "audio", "image")]
    assert shifts == [6.0, 4.0, own]
