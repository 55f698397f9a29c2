"""What real media do to a picture or a sound that a renderer does not: applied to what the prompt encoders see."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional


def degrade_pictures(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Small shift, turn and scale, then `degrade_colours`.

    Args:
        pictures: [batch, 3, h, w] in [-1, 1].

    Returns:
        The same shape and range.
    """
    grid = _grid(pictures, rng)
    return degrade_colours(functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False), rng)


def degrade_colours(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Gamma, saturation, gain, blur and noise, one draw for a whole picture.

    Args:
        pictures: [batch, 3, h, w] in [-1, 1]; the frames of a clip side by side are degraded alike.
    """
    batch, unit = len(pictures), (pictures + 1) / 2
    unit = unit.clamp(1e-3, 1) ** _column(rng.uniform(0.7, 1.4, batch))
    grey = unit.mean(1, keepdim=True)
    unit = grey + (unit - grey) * _column(rng.uniform(0.6, 1.2, batch))
    unit = unit * _column(rng.uniform(0.75, 1.15, batch)) + _column(rng.uniform(-0.05, 0.08, batch))
    blurred = functional.avg_pool2d(functional.pad(unit, (1, 1, 1, 1), mode="replicate"), 3, 1)
    unit = torch.lerp(unit, blurred, _column(rng.random(batch) * (rng.random(batch) < 0.4)))
    unit = unit + _column(rng.uniform(0, 0.05, batch)) * torch.randn_like(unit)
    return unit.clamp(0, 1) * 2 - 1


def _grid(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    batch = len(pictures)
    angle, scale = rng.uniform(-0.12, 0.12, batch), rng.uniform(0.92, 1.1, batch)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    shift = rng.uniform(-0.08, 0.08, (2, batch))
    theta = np.stack([np.stack([cos, -sin, shift[0]], -1), np.stack([sin, cos, shift[1]], -1)], 1)
    return functional.affine_grid(torch.from_numpy(theta).float(), list(pictures.shape), align_corners=False)


def _column(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).float().view(-1, 1, 1, 1)


def degrade_sounds(sounds: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Gain within 3 dB, a one-pole filter, hiss.

    Args:
        sounds: [batch, samples] in [-1, 1].
    """
    gain = torch.from_numpy(10 ** (rng.uniform(-3, 3, (len(sounds), 1)) / 20)).float()
    previous = functional.pad(sounds[:, :-1], (1, 0))
    tilt = torch.from_numpy(rng.uniform(-0.3, 0.4, (len(sounds), 1))).float()
    hiss = torch.from_numpy(10 ** rng.uniform(-4, -2.3, (len(sounds), 1))).float() * torch.randn_like(sounds)
    return (gain * (sounds + tilt * previous) / (1 + tilt.abs()) + hiss).clamp(-1, 1)
