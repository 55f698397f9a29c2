"""Any number of feature tokens -> K tokens of the shared space."""

from __future__ import annotations

import math

import torch
from einops import repeat
from torch import nn
from torch.nn import functional

from codi.conditioning import SHARED_TOKENS, SHARED_WIDTH


class Resampler(nn.Module):
    """Learned queries that read a feature sequence by cross-attention (the Perceiver resampler of Flamingo, 2022).

    Args:
        in_channels: width of the features.
        width: width of the tokens.
        tokens: number of queries K.
        layers: decoder layers.
        heads: attention heads.
    """

    def __init__(
        self,
        in_channels: int,
        width: int = SHARED_WIDTH,
        tokens: int = SHARED_TOKENS,
        layers: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.LayerNorm(in_channels), nn.Linear(in_channels, width))
        self.queries = nn.Parameter(torch.randn(tokens, width) * 0.5)
        layer = nn.TransformerDecoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, layers)

    def forward(self, features: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        """[batch, positions, in_channels] -> [batch, K, width], each token of zero mean and unit variance.

        Args:
            features: the sequence to read.
            padding: [batch, positions], True where a position is padding.
        """
        queries = repeat(self.queries, "k c -> b k c", b=features.shape[0])
        tokens = self.layers(queries, self.enter(features), memory_key_padding_mask=padding)
        return functional.layer_norm(tokens, tokens.shape[-1:])


class SecondsEmbedding(nn.Module):
    """Sinusoidal embedding of a time in seconds, periods from 1/16 s to 64 s."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, seconds: torch.Tensor) -> torch.Tensor:
        """[positions] seconds in float64 -> [positions, width] in float32."""
        periods = torch.logspace(-4, 6, self.width // 2, base=2.0, dtype=torch.float64, device=seconds.device)
        angles = 2 * math.pi * seconds[:, None] / periods
        return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def conv_stack(widths: tuple[int, ...], strides: tuple[tuple[int, int] | int, ...]) -> nn.Sequential:
    """Strided 3x3 convolutions with group normalisation and SiLU; widths[0] is the input's."""
    blocks: list[nn.Module] = []
    for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
        blocks += [nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(8, after), nn.SiLU()]
    return nn.Sequential(*blocks)
