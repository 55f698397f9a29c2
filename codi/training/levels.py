"""Noise levels of training: how they are drawn, and what a latent at a level can tell."""

from __future__ import annotations

import torch


def draw_levels(batch: int, shift: float, uniform: float = 0.25, lowest: float = 0.0) -> torch.Tensor:
    """[batch] levels: a share `uniform` even in [0, 1], the rest above `lowest` with their mass near 1."""
    least = lowest / (shift - (shift - 1) * lowest)
    crowded = shifted(least + (1 - least) * torch.rand(batch), shift)
    return torch.where(torch.rand(batch) < uniform, torch.rand(batch), crowded)


def shifted(even: torch.Tensor, shift: float) -> torch.Tensor:
    """Levels in [0, 1], crowded towards 1 (Esser et al. 2024, equation 23): as a sampler with that shift steps."""
    return shift * even / (1 + (shift - 1) * even)


def noised(
    clean: torch.Tensor, level: torch.Tensor, begin: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """A latent at `level` [batch], and the velocity that the denoiser should predict there, which leads to `clean`.

    Args:
        begin: what is noised in the place of `clean`, and is to become that.
    """
    noise, start = torch.randn_like(clean), clean if begin is None else begin
    spread = level.view(-1, *([1] * (clean.ndim - 1)))
    velocity = noise - start + (start - clean) / spread.clamp_min(1e-3)
    return (1 - spread) * start + spread * noise, velocity


def known(level: torch.Tensor, highest: float) -> torch.Tensor:
    """[batch] 0 above level `highest`, 1 well below it: whether a noisy latent tells where the object is.

    Above, weights and critics that know more than the network sees would bias what it predicts: objects come twice.
    """
    return ((highest - level) / 0.15).clamp(0, 1)
