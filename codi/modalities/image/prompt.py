"""Picture -> tokens of the shared space."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import nn

from codi.components import component
from codi.conditioning import SHARED_TOKENS, SHARED_WIDTH
from codi.networks.resampler import Resampler, conv_stack


@component
class ImagePromptEncoder(ModelMixin, ConfigMixin):
    """A small convolutional network and a resampler."""

    @register_to_config
    def __init__(
        self,
        widths: tuple[int, ...] = (3, 32, 64, 96, 128),
        size: int = 64,
        width: int = SHARED_WIDTH,
        tokens: int = SHARED_TOKENS,
    ) -> None:
        super().__init__()
        self.stem = conv_stack(tuple(widths), (2, 2, 2, 1))
        side = size // 8
        self.places = nn.Parameter(torch.randn(side * side, widths[-1]) * 0.02)
        self.resampler = Resampler(widths[-1], width, tokens, layers=1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """[batch, 3, 64, 64] in [-1, 1] -> [batch, K, width]."""
        return self.resampler(rearrange(self.stem(pictures), "b c h w -> b (h w) c") + self.places)
