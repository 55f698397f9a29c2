"""The joint denoising loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from codi import schedule
from codi.bridge import gather
from codi.guidance import Guidance
from codi.modality import Engine
from codi.types import Denoised, Tokens

OnStep = Callable[[int, Mapping[str, torch.Tensor]], None]


@dataclass
class Track:
    """One modality on the timeline. A given and an output differ only in whether a scheduler moves them.

    Attributes:
        engine: runs the modality.
        latent: [batch, ...]; of a given, clean and constant.
        clock: times of the latent's columns or frames.
        prompt: what a prompted pass attends to; a given has the null prompt.
        null: what an unprompted pass attends to: nothing, or the negative prompt.
        scheduler: None for a given.
        noise: of the output; None for a given.
    """

    engine: Engine
    latent: torch.Tensor
    clock: torch.Tensor
    prompt: Tokens
    null: Tokens
    scheduler: Any = None
    noise: schedule.Noise | None = None

    def level(self, index: int) -> torch.Tensor:
        """[batch] noise levels at step `index`: 0 for a given."""
        level = 0.0 if self.scheduler is None else schedule.level_at(self.scheduler, index)
        return self.latent.new_full((len(self.latent),), level)

    def run(self, index: int, prompt: Tokens, partners: Tokens | None = None) -> Denoised:
        """One pass of the denoiser at step `index`."""
        return self.engine.denoiser(self.latent, self.level(index), prompt, self.clock, partners)

    def show(self, index: int, alone: Denoised) -> Tokens | None:
        """Environment tokens for the others; None where the bundle has no environment encoder for this modality."""
        if self.engine.environment is None or alone.features is None:
            return None
        states = self.engine.environment(alone.features, self.level(index))
        return Tokens(states, self.engine.token_times(self.clock))


@torch.no_grad()
def denoise(
    tracks: Mapping[str, Track], guidance: Mapping[str, Guidance], steps: int, on_step: OnStep | None = None
) -> dict[str, torch.Tensor]:
    """Denoise all outputs together.

    Args:
        tracks: outputs and givens by modality.
        guidance: of each output.
        steps: of the common grid.
        on_step: called after each step with its index and the outputs' latents.

    Returns:
        The clean latents of the outputs.
    """
    outputs = {name: track for name, track in tracks.items() if track.scheduler is not None}
    joint = len(tracks) > 1 and any(guidance[name].bridge for name in outputs)
    shown: dict[str, Tokens | None] = {}
    for index in range(steps):
        # One snapshot before anybody moves: the order of the outputs cannot matter. A given never changes.
        alone = {name: track.run(index, track.prompt) for name, track in outputs.items()}
        if joint:
            fixed = {name: shown[name] for name in tracks if name not in outputs and name in shown}
            moved = {
                n: t.show(index, alone[n] if n in alone else t.run(index, t.null))
                for n, t in tracks.items()
                if n not in fixed
            }
            shown = fixed | moved
        for name, track in outputs.items():
            partners = gather({n: tokens for n, tokens in shown.items() if n != name and tokens is not None})
            prediction = guided(track, index, alone[name], partners, guidance[name])
            assert track.noise is not None
            track.latent = schedule.step(track.scheduler, prediction, index, track.latent, track.noise)
        if on_step is not None:
            on_step(index, {name: track.latent for name, track in outputs.items()})
    return {name: track.latent for name, track in outputs.items()}


def guided(track: Track, index: int, alone: Denoised, partners: Tokens | None, guidance: Guidance) -> torch.Tensor:
    """The weighted sum of the guidance's terms; the bridge-off prompted pass is taken from `alone`."""
    total = torch.zeros_like(alone.sample)
    for term in guidance.terms(partners is not None):
        if term.prompted and not term.bridged:
            sample = alone.sample
        else:
            sample = track.run(
                index, track.prompt if term.prompted else track.null, partners if term.bridged else None
            ).sample
        total = total + term.weight * sample
    return total
