"""Sound -> tokens of the shared space."""

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
class AudioPromptEncoder(ModelMixin, ConfigMixin):
    """A mel picture through a convolutional network, tokens of 31 ms, attention over time, and a resampler."""

    @register_to_config
    def __init__(
        self,
        widths: tuple[int, ...] = (1, 24, 48, 64, 96),
        bands: int = 64,
        width: int = SHARED_WIDTH,
        tokens: int = SHARED_TOKENS,
    ) -> None:
        super().__init__()
        self.stem = conv_stack(tuple(widths), ((2, 2), (2, 2), (2, 1), (2, 1)))
        self.column = nn.Linear(widths[-1] * bands // 16, width)
        self.seconds = SecondsEmbedding(width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.time = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.resampler = Resampler(width, width, tokens, layers=1)

    def forward(self, mel: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Tokens of a batch of sounds.

        Args:
            mel: [batch, 1, 64, columns] in [-1, 1].
            times: [columns] seconds, float64.

        Returns:
            [batch, K, width].
        """
        tokens = self.column(rearrange(self.stem(mel), "b c f t -> b t (c f)"))
        clock = repeat(self.seconds(times[::4]), "t c -> b t c", b=mel.shape[0])
        return self.resampler(self.time(tokens + clock.to(tokens)))
