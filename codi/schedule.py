"""Steps and noise: one common grid of steps, each modality's own scheduler on it, noise by hash."""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
from typing import Any, Final

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SchedulerMixin

from codi.types import InputError


def prepared(scheduler: Any, steps: int, device: torch.device) -> Any:
    """A copy of a scheduler, set to `steps`: schedulers hold state, so each modality and each call has its own."""
    own = copy.deepcopy(scheduler)
    own.set_timesteps(steps, device=device)
    return own


def chosen(scheduler: Any, name: str | None) -> Any:
    """The bundle's scheduler, or another diffusers class with the same configuration.

    Raises:
        InputError: no such class, or one that cannot sample with what the denoiser predicts.
    """
    if name is None:
        return scheduler
    fitting = _fitting(scheduler)
    if name not in fitting:
        raise InputError(f"scheduler {name}", "does not fit this bundle", f"choose among {', '.join(sorted(fitting))}")
    return fitting[name]


def _fitting(scheduler: Any) -> dict[str, Any]:
    """By name, the samplers of what the denoiser predicts, on the bundle's noise levels.

    Those that scale what a denoiser sees (k-diffusion's, Karras et al. 2022) are none: every modality's latent has
    about unit variance at every level here.
    """
    import diffusers

    config = dict(scheduler.config)
    if flows(scheduler):
        kinds = [getattr(diffusers, name) for name in _FLOW]
        config |= {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": config["shift"]}
    else:
        kinds = [kind for kind in scheduler.compatibles if issubclass(kind, SchedulerMixin)]  # (that are installed)
    made = {kind.__name__: kind.from_config(_known(kind, config)) for kind in kinds}
    unscaled = {name: one for name, one in made.items() if getattr(one, "init_noise_sigma", 1.0) == 1.0}
    return {type(scheduler).__name__: scheduler, **unscaled}


def _known(kind: type[Any], config: dict[str, Any]) -> dict[str, Any]:
    """What of a configuration a class of samplers knows; of the rest diffusers would warn."""
    return {name: value for name, value in config.items() if name in inspect.signature(kind.__init__).parameters}


def level_at(scheduler: Any, index: int) -> float:
    """The noise level of step `index`, from 0 (clean) to 1 (noise)."""
    return float(scheduler.timesteps[index]) / scheduler.config.num_train_timesteps


def begins(scheduler: Any, strength: float) -> int:
    """The step from which on a share `strength` of a prepared scheduler's steps is left, rounded up."""
    steps = len(scheduler.timesteps)
    return steps - math.ceil(round(steps * strength, 6))


def begins_anywhere(scheduler: Any) -> bool:
    """Whether a scheduler finds its step by the timestep: one that visits a timestep twice must take all of them."""
    return len(scheduler.timesteps.unique()) == len(scheduler.timesteps)


def step(scheduler: Any, prediction: torch.Tensor, index: int, latent: torch.Tensor, noise: Noise) -> torch.Tensor:
    """The latent after step `index`."""
    options = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = [noise.generator(sample, index + 1) for sample in range(len(latent))]
    return scheduler.step(prediction, scheduler.timesteps[index], latent, return_dict=False, **options)[0]


def renewed(scheduler: Any, prediction: torch.Tensor, index: int, latent: torch.Tensor, noise: Noise) -> torch.Tensor:
    """As `step`, but to new noise instead of that which the latent holds: the estimate of what is clean stays.

    For samplers of rectified flow that remember no step (`renews`).
    """
    clean = estimate(scheduler, prediction, index, latent)
    step(scheduler, prediction, index, latent, noise)  # (the scheduler counts its steps)
    fresh = noise.white(tuple(latent.shape[1:]), len(latent), index + 1)
    return noised(scheduler, clean, fresh.to(latent), index + 1)


def estimate(scheduler: Any, prediction: torch.Tensor, index: int, latent: torch.Tensor) -> torch.Tensor:
    """What is clean, by a prediction of rectified flow's velocity at step `index`."""
    return latent - level_at(scheduler, index) * prediction


def flows(scheduler: Any) -> bool:
    """Whether a scheduler moves along rectified flow, so that predictions are velocities."""
    return hasattr(scheduler, "scale_noise") or bool(scheduler.config.get("use_flow_sigmas"))


def renews(scheduler: Any, index: int, above: float) -> bool:
    """Whether the latent after step `index` may get new noise: it is noisier than that level, by a sampler that can."""
    left = index + 1 < len(scheduler.timesteps)
    return left and isinstance(scheduler, FlowMatchEulerDiscreteScheduler) and level_at(scheduler, index + 1) > above


def noised(scheduler: Any, clean: torch.Tensor, white: torch.Tensor, index: int) -> torch.Tensor:
    """A clean latent at the level that a latent has before step `index`; after the last step it is clean."""
    if index >= len(scheduler.timesteps):
        return clean
    moment = scheduler.timesteps[index : index + 1]
    if hasattr(scheduler, "scale_noise"):
        return scheduler.scale_noise(clean, moment, white)  # type: ignore[no-any-return]
    return scheduler.add_noise(clean, white, moment)  # type: ignore[no-any-return]


_FLOW: Final = (
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "UniPCMultistepScheduler",
    "DPMSolverMultistepScheduler",
)
"""Samplers of diffusers that know rectified flow."""


class Noise:
    """Noise of one modality, a function of (seed + sample, modality, step) alone.

    Adding an output, or a neighbour in the batch, changes nobody else's noise. It is drawn on the CPU, so that every
    device starts from the same.
    """

    def __init__(self, seed: int, modality: str) -> None:
        self.seed, self.modality = seed, modality

    def generator(self, sample: int, index: int) -> torch.Generator:
        """The generator of one sample at one step; step 0 is the start."""
        key = f"{self.seed + sample}:{self.modality}:{index}".encode()
        seed = int.from_bytes(hashlib.sha256(key).digest()[:8], "little", signed=True)
        return torch.Generator().manual_seed(seed)

    def white(self, shape: tuple[int, ...], samples: int, index: int = 0) -> torch.Tensor:
        """[samples, *shape] of unit variance, on the CPU; index 0 is what the output begins from."""
        return torch.stack([torch.randn(shape, generator=self.generator(k, index)) for k in range(samples)])
