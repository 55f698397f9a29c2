"""Mild damage to renders, so that the readers also read generated media: blur, noise, gains, tilted spectra."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def damage_pictures(x: Tensor, generator: torch.Generator) -> Tensor:
    """[batch, 3, 64, 64] in -1..1 -> the same, each picture damaged anew (the blur is one for the batch)."""
    batch = len(x)
    x = _blur(x, 1.1 * _uniform(1, generator).item()) if _uniform(1, generator) < 0.7 else x
    if _uniform(1, generator) < 0.25:
        x = F.interpolate(F.interpolate(x, scale_factor=0.67, mode="bilinear"), size=x.shape[-2:], mode="bilinear")
    gain = 1 + 0.12 * _signed((batch, 1, 1, 1), generator) + 0.06 * _signed((batch, 3, 1, 1), generator)
    x = x * gain + 0.10 * _signed((batch, 1, 1, 1), generator) + 0.04 * _signed((batch, 3, 1, 1), generator)
    coarse = torch.randn(batch, 3, 16, 16, generator=generator)
    x = x + 0.05 * _uniform((batch, 1, 1, 1), generator) * F.interpolate(coarse, size=x.shape[-2:], mode="bilinear")
    noise = torch.randn(x.shape, generator=generator)
    return (x + 0.06 * _uniform((batch, 1, 1, 1), generator) ** 2 * noise).clamp(-1, 1)


def damage_mels(x: Tensor, generator: torch.Generator) -> Tensor:
    """[batch, 64, steps] log-mel spectrograms -> the same, each damaged anew (the smear is one for the batch)."""
    batch, bands, steps = x.shape
    if _uniform(1, generator) < 0.5:
        sides = 0.5 * _uniform(2, generator)
        x = _smear(_smear(x, float(sides[0])).transpose(1, 2), float(sides[1])).transpose(1, 2)
    tilt = torch.linspace(-1, 1, bands)[:, None]
    x = x + 0.06 * _signed((batch, 1, 1), generator) + 0.08 * _signed((batch, 1, 1), generator) * tilt
    noise = torch.randn(batch, bands, steps, generator=generator)
    x = x + 0.08 * _uniform((batch, 1, 1), generator) ** 2 * noise
    floor = x.amin((1, 2), keepdim=True) + 0.5 * _uniform((batch, 1, 1), generator) ** 2
    return torch.maximum(x, floor)


def _smear(x: Tensor, side: float) -> Tensor:
    """A three-tap average along the last axis."""
    padded = F.pad(x, (1, 1), mode="replicate")
    return (x + side * (padded[..., :-2] + padded[..., 2:])) / (1 + 2 * side)


def _blur(x: Tensor, sigma: float) -> Tensor:
    at = torch.arange(-3, 4, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (at / max(sigma, 0.2)) ** 2)
    kernel = (kernel / kernel.sum()).repeat(3, 1)
    x = F.conv2d(F.pad(x, (3, 3, 0, 0), mode="replicate"), kernel[:, None, None, :], groups=3)
    return F.conv2d(F.pad(x, (0, 0, 3, 3), mode="replicate"), kernel[:, None, :, None], groups=3)


def _uniform(shape: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator)


def _signed(shape: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=generator) - 1
