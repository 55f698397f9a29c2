"""How an expert's latents are noised, what it predicts, and what samples from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler


class Process(Protocol):
    """A diffusion process on one grid: `share` runs from 0 (clean) to 1 (noise), evenly over the sampler's steps."""

    def level(self, share: torch.Tensor) -> torch.Tensor:
        """Shares of the grid -> the levels that the network is told, timestep / 1000."""
        ...

    def noised(self, clean: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The latent at `level` [batch], and what the network should predict."""
        ...

    def weight(self, level: torch.Tensor) -> torch.Tensor:
        """[batch] weights of squared errors, such that a velocity's would be 1."""
        ...

    def estimate(self, noisy: torch.Tensor, level: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        """The clean latent that a prediction means."""
        ...

    def nudge(self, level: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """What a gradient of a log-probability adds to the prediction."""
        ...

    def scheduler(self) -> Any:
        """A diffusers scheduler that samples."""
        ...


def _wide(level: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return level.view(-1, *([1] * (like.ndim - 1))).to(like.dtype)


@dataclass(frozen=True)
class Flow:
    """Rectified flow (Liu et al. 2022) with a shifted sampler (Esser et al. 2024); it predicts a velocity."""

    shift: float = 4.0

    def level(self, share: torch.Tensor) -> torch.Tensor:
        """See Process."""
        return self.shift * share / (1 + (self.shift - 1) * share)

    def noised(self, clean: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See Process."""
        noise, spread = torch.randn_like(clean), _wide(level, clean)
        return (1 - spread) * clean + spread * noise, noise - clean

    def weight(self, level: torch.Tensor) -> torch.Tensor:
        """See Process."""
        return torch.ones_like(level)

    def estimate(self, noisy: torch.Tensor, level: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        """See Process."""
        return noisy - _wide(level, noisy) * predicted

    def nudge(self, level: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """See Process: the noise moves by -level x gradient, and with it the velocity."""
        spread = _wide(level, gradient)
        return -gradient * spread / (1 - spread).clamp_min(0.01)

    def scheduler(self) -> Any:
        """See Process."""
        return FlowMatchEulerDiscreteScheduler(shift=self.shift)


def _kept() -> torch.Tensor:
    kept: torch.Tensor = _scheduler().alphas_cumprod.double()
    return kept


def _scheduler() -> Any:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )


@dataclass(frozen=True)
class Noise:
    """Noise prediction (Ho et al. 2020) on Stable Diffusion's schedule, whose betas are linear in their roots."""

    kept: torch.Tensor = field(default_factory=_kept)

    def level(self, share: torch.Tensor) -> torch.Tensor:
        """See Process."""
        return share

    def noised(self, clean: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See Process."""
        noise = torch.randn_like(clean)
        signal, spread = self._roots(level, clean)
        return signal * clean + spread * noise, noise

    def weight(self, level: torch.Tensor) -> torch.Tensor:
        """See Process; an error of the noise is small near the noise (Salimans and Ho 2022, section 4)."""
        return (1 / self._kept_at(level)).clamp_max(50).to(level.dtype)

    def estimate(self, noisy: torch.Tensor, level: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        """See Process."""
        signal, spread = self._roots(level, noisy)
        return (noisy - spread * predicted) / signal

    def nudge(self, level: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """See Process."""
        return -self._roots(level, gradient)[1] * gradient

    def scheduler(self) -> Any:
        """See Process."""
        return _scheduler()

    def _roots(self, level: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of signal and noise at levels."""
        kept = self._kept_at(level)
        return _wide(kept.sqrt(), like), _wide((1 - kept).sqrt(), like)

    def _kept_at(self, level: torch.Tensor) -> torch.Tensor:
        """Share of signal's variance; at level 0 all of it: a given is clean."""
        kept = self.kept[(level * 1000).long().clamp(1, 1000) - 1]
        return torch.where(level <= 0, torch.ones_like(kept), kept)


PROCESSES: Final[dict[str, Process]] = {"flow-6": Flow(6.0), "flow-4": Flow(4.0), "noise": Noise()}
"""By name in the arms' files."""
