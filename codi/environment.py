"""Environment encoders: what a modality shows the others while it denoises.

    features of a frozen denoiser's bridge-off pass, its latent, its level -> environment tokens

There is one per modality, all into one bridge space: what they cost is linear in the number of modalities.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from einops import rearrange, repeat
from torch import nn

from codi.components import component

BRIDGE_WIDTH = 192

QUARTER = 4
"""Cells along a side of a picture's quarter."""


@component
class EnvironmentEncoder(ModelMixin, ConfigMixin):
    """What a modality shows the others: one token per stretch of its timeline.

    Args:
        in_channels: channels of the feature tap and the latent together.
        slots: tokens that share a time (places in a frame, words); each gets an embedding of its own.
        width: channels of the bridge space.
        cell_channels: where slots are the quarters of a picture, channels of each of its cells, the last 16 of which
            end a quarter's features, [channels, 4, 4]; eyes look at them all together. 0 for what is no picture.
    """

    reads_latent = False

    @register_to_config
    def __init__(self, in_channels: int, slots: int = 1, width: int = BRIDGE_WIDTH, cell_channels: int = 0) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.LayerNorm(in_channels), nn.Linear(in_channels, width))
        self.slot = nn.Parameter(torch.randn(slots, width) * 0.02)
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * width))
        self.body = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.leave = nn.LayerNorm(width)
        self.eyes = Eyes(cell_channels, width) if cell_channels else None

    def forward(self, features: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Tokens of the bridge space.

        Args:
            features: [batch, positions, in_channels]; positions run over time first, then over slots.
            level: [batch] noise levels from 0 (clean) to 1 (noise).

        Returns:
            [batch, positions, width].
        """
        tokens = self.enter(features)
        tokens = tokens + repeat(self.slot, "s c -> (t s) c", t=tokens.shape[1] // self.slot.shape[0])
        embedded = get_timestep_embedding(1000 * level, self.config.width).to(tokens.dtype)
        if self.eyes is not None:
            tokens = tokens + self.eyes(features[..., -self.eyes.channels * QUARTER**2 :], embedded)
        scale, shift = self.level(embedded)[:, None].chunk(2, dim=-1)
        return self.leave(tokens + self.body(tokens * (1 + scale) + shift))


class Eyes(nn.Module):
    """Convolutions over the cells of a whole picture: a token of a quarter does not say what the object is.

    They add nothing at first.

    Args:
        channels: of a cell; width: of the tokens; inner: of the convolutions.
    """

    def __init__(self, channels: int, width: int, inner: int = 64) -> None:
        super().__init__()
        self.channels = channels
        self.first = nn.Conv2d(channels, inner, 3, padding=1)
        self.body = nn.ModuleList(ResnetBlock2D(in_channels=inner, temb_channels=width, groups=16) for _ in range(2))
        self.leave = nn.Linear(inner * (QUARTER**2 + 1), width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, cells: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Cells [batch, (pictures 4), (channels 4 4)] and levels embedded [batch, width] -> [batch, tokens, width]."""
        sides = {"h": 2, "w": 2, "p": QUARTER, "q": QUARTER}
        pictures = rearrange(cells, "b (f h w) (c p q) -> (b f) c (h p) (w q)", **sides)
        count = len(pictures) // len(level)
        seen = self.first(pictures)
        for block in self.body:
            seen = block(seen, level.repeat_interleave(count, 0))
        seen = nn.functional.silu(seen)
        quarters = rearrange(seen, "n c (h p) (w q) -> n (h w) (c p q)", **sides)
        whole = repeat(seen.mean((2, 3)), "n c -> n s c", s=quarters.shape[1])
        return rearrange(self.leave(torch.cat([quarters, whole], -1)), "(b f) s c -> b (f s) c", f=count)
