"""The sound's expert as another kind of diffusion model: noise prediction on Stable Diffusion's schedule.

A denoiser of rectified flow is one of noise after a change of variables (Gao et al. 2024, "Diffusion meets flow
matching", section 2): that is where it starts, and then it is trained on the schedule, the noising and the target of
the other kind. To its partners all of it is strange: latents of another scale, levels that fall otherwise, another
sampler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
)
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from safetensors.torch import load_file, save_file

from codi.modalities.audio.denoiser import AudioDenoiser
from codi.modalities.audio.engine import AudioEngine
from codi.pipeline import CoDiPipeline
from codi.training import latents
from codi.training.joint import Corrupt, flow
from codi.training.levels import draw_levels
from codi.training.loop import FitConfig, Losses, fit, runs_folder
from codi.types import ClipSpec

STEPS: Final = 800
SHIFT: Final = 4.0
SAMPLERS: Final = {"video_scheduler": 6.0, "audio_scheduler": 4.0}
"""Shifts: those of the bundle when the arms were measured."""


def noise_scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule and target, sampled by DDIM from its noisiest step on."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        timestep_spacing="trailing",
        prediction_type="epsilon",
    )


class LevelledScheduler(DPMSolverMultistepScheduler):
    """The same, step by step at the levels of a sampler of rectified flow with the sounds' shift.

    Stable Diffusion's schedule begins at level 0.936 of flow's line: until flow is there, it stays at its noisiest
    timesteps. The order is 1, which is DDIM (Lu et al. 2022, section 4.1).
    """

    def set_timesteps(self, num_inference_steps: int, device: torch.device | None = None) -> None:  # type: ignore[override]
        """Timesteps that fall from the noisiest, each less than the one before."""
        flows = FlowMatchEulerDiscreteScheduler(shift=SAMPLERS["audio_scheduler"])
        flows.set_timesteps(num_inference_steps)
        nearest = timesteps_at(flows.timesteps / flows.config.num_train_timesteps).tolist()
        latest = self.config.num_train_timesteps - 1
        super().set_timesteps(timesteps=[min(t, latest - k) for k, t in enumerate(nearest)], device=device)


def levelled_scheduler() -> LevelledScheduler:
    """Stable Diffusion's schedule and target, sampled at flow's levels."""
    return LevelledScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        solver_order=1,
        prediction_type="epsilon",
    )


class NoiseUNet(UNet2DConditionModel):
    """A UNet that predicts the noise in latents of unit variance (Ho et al. 2020); its inner layers see flow's line."""

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor, **rest: Any
    ) -> UNet2DConditionOutput:
        """As UNet2DConditionModel's; timesteps [batch] from 0 to 999."""
        signal, noise = scales(timestep, sample)
        total = signal + noise
        level, scaled = noise / total, sample / total
        velocity = super().forward(scaled, 1000 * level.flatten(), encoder_hidden_states).sample
        return UNet2DConditionOutput(sample=scaled + (1 - level) * velocity)


@cache
def _kept() -> torch.Tensor:
    """Squares of the signal's share, by timestep."""
    return noise_scheduler().alphas_cumprod


def scales(timestep: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of a latent is signal and how much noise at timesteps [batch]; both broadcast to the latent."""
    kept = _kept().to(like.device)
    at = kept[timestep.round().long().clamp(0, len(kept) - 1)].view(-1, *[1] * (like.ndim - 1)).to(like.dtype)
    return at.sqrt(), (1 - at).sqrt()


def timesteps_at(level: torch.Tensor) -> torch.Tensor:
    """[n] levels of flow's line -> [n] the first timesteps that are as noisy, at most the noisiest."""
    signal, noise = scales(torch.arange(len(_kept())), torch.zeros(1))
    return torch.searchsorted(noise / (signal + noise), level).clamp(max=len(_kept()) - 1)


def noise_added(clean: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The corruption of noise prediction (see Corrupt): at timestep 1000 x level, clean at level 0.

    Errors are weighted as a velocity's would be (Salimans and Ho 2022, section 4): near the noise, where structure is
    settled, hardly anything is missing from a prediction of the noise.
    """
    white = torch.randn_like(clean)
    signal, noise = scales(1000 * level, clean)
    stands = (level == 0).view_as(signal)
    return torch.where(stands, clean, signal * clean + noise * white), white, signal**-2


@dataclass(frozen=True)
class Kind:
    """How a sound's expert is noised and sampled.

    Attributes:
        corrupt: its noising, target and weights.
        counted: levels of flow's line as the levels at which it is trained beside a clip.
        scheduler: its sampler; None for the bundle's expert, with its own.
    """

    corrupt: Corrupt
    counted: Callable[[torch.Tensor], torch.Tensor] = lambda level: level
    scheduler: Callable[[], Any] | None = None


KINDS: Final[dict[str, Kind]] = {
    "flow": Kind(flow),
    "noise": Kind(noise_added, scheduler=noise_scheduler),
    "noise, levelled": Kind(noise_added, lambda level: timesteps_at(level) / len(_kept()), levelled_scheduler),
}
"""Of `noise`, level t is timestep 1000 t, which is less noisy; levelled, both are alike."""


def paced(pipe: CoDiPipeline) -> CoDiPipeline:
    """The pipeline, changed: with the samplers that all arms are measured with, whatever its own are."""
    for part, shift in SAMPLERS.items():
        scheduler = pipe.components[part]
        pipe.register_modules(**{part: scheduler.from_config(scheduler.config, shift=shift)})
    return pipe


def with_expert(pipe: CoDiPipeline, kind: Kind) -> CoDiPipeline:
    """The pipeline with a sound expert of that kind, trained if it has not been."""
    if kind.scheduler is None:
        return pipe
    base = pipe.components["audio_denoiser"]
    unet = NoiseUNet.from_config(base.config)
    path = runs_folder() / "ablations" / "expert_noise" / "final.safetensors"
    if not path.exists():
        unet.load_state_dict(base.state_dict())
        _train(unet)
        save_file(unet.state_dict(), path)
    unet.load_state_dict(load_file(path))
    parts = {"audio_denoiser": unet.eval().requires_grad_(False), "audio_scheduler": kind.scheduler()}
    changed = CoDiPipeline(**{**pipe.components, **parts})
    changed.set_progress_bar_config(disable=True)
    return changed


def _train(unet: NoiseUNet) -> None:
    """The weighted error of the noise alone, without a critic."""
    stored, facts = latents.load("audio"), latents.facts_table(latents.stored("audio"))
    prompts, clock, denoiser = latents.Prompts(), AudioEngine({}).clock(ClipSpec()), AudioDenoiser(unet)

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        rows = rng.integers(0, len(stored), batch)
        prompt, _ = prompts.draw(facts[rows], rng)
        level = draw_levels(batch, SHIFT)
        noisy, target, weight = noise_added(torch.from_numpy(stored[rows]).float(), level)
        missed = denoiser(noisy, level, prompt, clock).sample - target
        return {"loss": (weight * missed.square()).mean()}

    config = FitConfig(steps=STEPS, batch=32, lr=2e-4, warmup=50, ema=0.99, bf16=True)
    fit("ablations/expert_noise", unet.requires_grad_(True), loss, config)
