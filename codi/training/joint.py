"""One joint pass of several frozen denoisers with their bridges: what bridges are trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from codi.bridge import gather
from codi.guidance import Guidance
from codi.modality import Engine
from codi.training.levels import noised
from codi.types import Tokens

OTHERS = Guidance()
Latents = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""By modality, latents [batch, ...] and their clock."""
Corrupt = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""(clean latents, levels [batch]) -> noisy latents, what should be predicted, and weights of its squared error."""


@dataclass(frozen=True)
class Seen:
    """What several modalities predict beside each other.

    Attributes:
        velocities: of each that is not clean.
        estimates: theirs of the clean latents.
        shown: environment tokens of each that has an encoder.
    """

    velocities: dict[str, torch.Tensor]
    estimates: dict[str, torch.Tensor]
    shown: dict[str, Tokens]


@dataclass(frozen=True)
class Joint:
    """One pass of several modalities over latents whose truth is known.

    Attributes:
        errors: of each that is not clean, the mean square of its velocity's error.
        seen: what was predicted.
    """

    errors: dict[str, torch.Tensor]
    seen: Seen


def joint_pass(
    engines: Mapping[str, Engine],
    clean: Latents,
    prompt: Tokens,
    levels: Mapping[str, torch.Tensor],
    bridged: bool = True,
    guidance: Guidance = OTHERS,
    corruptions: Mapping[str, Corrupt] = {},
) -> Joint:
    """One pass of each modality that is not clean, each reading all the others, or whom `guidance` lets it see.

    `corruptions` are of modalities whose experts are not of rectified flow; their estimates are not to be used.
    """
    drawn = {name: corruptions.get(name, flow)(latent, levels[name]) for name, (latent, _) in clean.items()}
    noisy = {name: (latent, clean[name][1]) for name, (latent, _, _) in drawn.items()}
    seen = predicted(engines, noisy, prompt, levels, bridged, guidance)
    errors = {}
    for name, velocity in seen.velocities.items():
        _, target, weight = drawn[name]
        errors[name] = (weight * (velocity - target).square()).mean()
    return Joint(errors, seen)


def predicted(
    engines: Mapping[str, Engine],
    noisy: Latents,
    prompt: Tokens,
    levels: Mapping[str, torch.Tensor],
    bridged: bool = True,
    guidance: Guidance = OTHERS,
) -> Seen:
    """One pass over noisy latents; see `joint_pass`."""
    shown: dict[str, Tokens] = {}
    for name, (latent, clock) in noisy.items():
        environment = engines[name].environment
        if environment is not None:
            reads = environment.reads_latent
            seen = latent if reads else _features(engines[name], clock, latent, prompt, levels[name])
            shown[name] = Tokens(environment(seen, levels[name]), engines[name].token_times(clock))
    velocities, estimates = {}, {}
    for name, (latent, clock) in noisy.items():
        if (levels[name] > 0).any():
            partners = gather(guidance.seen(name, shown)) if bridged else None
            velocity = engines[name].denoiser(latent, levels[name], prompt, clock, partners).sample
            level = levels[name].view(-1, *([1] * (latent.ndim - 1)))
            velocities[name], estimates[name] = velocity, latent - level * velocity
    return Seen(velocities, estimates, shown)


def flow(clean: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rectified flow's corruption (see Corrupt)."""
    return *noised(clean, level), torch.ones(())


@torch.no_grad()
def _features(
    engine: Engine, clock: torch.Tensor, latent: torch.Tensor, prompt: Tokens, level: torch.Tensor
) -> torch.Tensor | None:
    """What a frozen denoiser knows; a given has the null prompt."""
    asked = prompt if bool((level > 0).any()) else Tokens(torch.zeros_like(prompt.states))
    return engine.denoiser(latent, level, asked, clock).features
