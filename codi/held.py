"""What stands of an output: laid back after every step, and drawn towards in what is made around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from codi import schedule

LOOKS: Final = 0.3
"""Noise level below which what is made is no longer drawn to what stands: structure is settled by then."""
DRAWS: Final = 3
"""Times a step."""
RENEWS: Final = 0.7
"""Noise level above which what is made gets new noise at every step: it decides where things are otherwise."""


@dataclass(frozen=True)
class Held:
    """What stands of an output.

    RePaint (Lugmayr et al. 2022), equation 8, without its resampling.

    Attributes:
        clean: latent [batch, ...] of what was given.
        white: the output's start noise.
        mask: 1 where it stands, 0 where it is made; broadcasts to the latent.
        until: the last step before which it stands; None for ever.
    """

    clean: torch.Tensor
    white: torch.Tensor
    mask: torch.Tensor
    until: int | None = None

    @property
    def renewal(self) -> float:
        """The noise level above which the output gets new noise; 1 for never."""
        return RENEWS if self.until is None else 1.0

    def over(self, clean: torch.Tensor, index: int) -> torch.Tensor:
        """An estimate of what is clean at step `index`, with what stands in it."""
        if self.until is not None and index >= self.until:
            return clean
        return self.mask * self.clean + (1 - self.mask) * clean

    def laid(self, latent: torch.Tensor, scheduler: Any, index: int) -> torch.Tensor:
        """The latent before step `index`, with what stands put back."""
        if self.until is not None and index > self.until:
            return latent
        stands = schedule.noised(scheduler, self.clean, self.white, index)
        return self.mask * stands + (1 - self.mask) * latent

    def draws(self, scheduler: Any, index: int) -> bool:
        """Whether what is made at step `index` is to fit what stands."""
        return self.until is None and schedule.flows(scheduler) and schedule.level_at(scheduler, index) >= LOOKS

    def drawn(
        self,
        predict: Callable[[torch.Tensor], torch.Tensor],
        prediction: torch.Tensor,
        latent: torch.Tensor,
        level: float,
    ) -> torch.Tensor:
        """A prediction whose clean estimate fits what stands: reconstruction guidance.

        Ho et al. 2022, "Video diffusion models", equation 7, here some times a step and, in the place of a weight,
        as far as what stands is met best: a picture laid into a clip is ignored by the frames around it otherwise.

        Args:
            predict: a latent -> velocities; differentiated.
            prediction: [batch, ...] the velocity that the step would take.
            latent: [batch, ...] at `level`.
            level: noise level, above 0.
        """
        with torch.enable_grad():
            start = latent.detach().requires_grad_()
            seen = start - level * predict(start)
        clean = latent - level * prediction
        for draw in range(DRAWS):
            missed = self.mask * (self.clean - clean)
            (slope,) = torch.autograd.grad(seen, start, missed, retain_graph=draw + 1 < DRAWS)
            clean = clean + _fit(missed, self.mask * slope) * slope
        return (latent - clean) / level


def _fit(missed: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """[batch, 1, ...] how far along each sample's direction the least is missed."""
    missed, flat = missed.float().flatten(1), along.float().flatten(1)
    fit = (missed * flat).sum(1) / flat.square().sum(1).clamp(min=1e-12)
    return fit.view(-1, *[1] * (along.ndim - 1)).to(along)


def together(layers: Sequence[Held]) -> Held:
    """One of several things that stand for ever, later ones over earlier ones."""
    first, *rest = layers
    clean, mask = first.clean, first.mask
    for layer in rest:
        clean = layer.over(clean, 0)
        mask = torch.maximum(mask, layer.mask)
    return Held(clean, first.white, mask)
