"""Mel picture -> waveform: a convolutional network that predicts the short-time spectrum (Vocos, Siuzdak 2023)."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import nn
from torch.nn import functional

from codi.components import component
from codi.modalities.audio.mel import BANDS, HOP


class _Block(nn.Module):
    """ConvNeXt block over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[batch, width, columns] -> the same."""
        mixed = rearrange(self.depthwise(hidden), "b c t -> b t c")
        return hidden + rearrange(self.mlp(self.norm(mixed)), "b t c -> b c t")


@component
class Vocoder(ModelMixin, ConfigMixin):
    """Magnitude and phase of every column, then the inverse transform: no upsampling, so no imaging and no clicks."""

    @register_to_config
    def __init__(self, bands: int = BANDS, width: int = 192, depth: int = 6, n_fft: int = 512, hop: int = HOP) -> None:
        super().__init__()
        self.enter = nn.Conv1d(bands, width, 7, padding=3)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(depth)))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_fft + 2))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """[batch, 1, bands, columns] in [-1, 1] -> [batch, columns * hop] samples."""
        columns = mel.shape[-1]
        hidden = self.blocks(self.enter(functional.pad(mel[:, 0], (0, 1), mode="replicate")))
        level, phase = rearrange(self.leave(rearrange(hidden, "b c t -> b t c")), "b t c -> b c t").chunk(2, dim=1)
        spectrum = torch.polar(level.float().clamp(max=6).exp(), phase.float())
        n_fft, hop = self.config.n_fft, self.config.hop
        window = torch.hann_window(n_fft, device=mel.device)
        return torch.istft(spectrum, n_fft, hop, n_fft, window, center=True, length=columns * hop)
