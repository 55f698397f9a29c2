"""Clip -> tokens of the shared space."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange, repeat
from torch import nn

from codi.components import component
from codi.conditioning import SHARED_TOKENS, SHARED_WIDTH
from codi.networks.resampler import Resampler, SecondsEmbedding, conv_stack


@component
class VideoPromptEncoder(ModelMixin, ConfigMixin):
    """Frames through a convolutional network, one token a frame, attention over time, and a resampler.

    The network is the image prompt encoder's (`stem`, trained there); a frame's token says what it shows (the largest
    response of each channel, wherever it is) and where (a narrow map of responses).
    """

    @register_to_config
    def __init__(
        self,
        widths: tuple[int, ...] = (3, 32, 64, 96, 128),
        map_width: int = 24,
        layers: int = 3,
        size: int = 64,
        width: int = SHARED_WIDTH,
        tokens: int = SHARED_TOKENS,
    ) -> None:
        super().__init__()
        self.stem = conv_stack(tuple(widths), (2, 2, 2, 1))
        self.narrow = nn.Conv2d(widths[-1], map_width, 1)
        self.what = nn.Linear(widths[-1], width)
        self.where = nn.Linear(map_width * (size // 8) ** 2, width)
        self.seconds = SecondsEmbedding(width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.time = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.resampler = Resampler(width, width, tokens, layers=1)

    def forward(self, frames: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Tokens of a batch of clips.

        Args:
            frames: [batch, 3, frames, 64, 64] in [-1, 1].
            times: [frames] seconds, float64.

        Returns:
            [batch, K, width].
        """
        count = frames.shape[2]
        grid = self.stem(rearrange(frames, "b c t h w -> (b t) c h w"))
        tokens = self.what(grid.amax((-2, -1))) + self.where(self.narrow(grid).flatten(1))
        clock = repeat(self.seconds(times), "t c -> b t c", b=frames.shape[0]).to(tokens)
        return self.resampler(self.time(rearrange(tokens, "(b t) c -> b t c", t=count) + clock))
