"""Environment encoders and bridges: how one modality's denoising reads the others'.

    environment encoder : features of a frozen denoiser's bridge-off pass, its latent, its level -> environment tokens
    bridge              : zero-initialised cross-attention inside another denoiser that reads those tokens

Both are linear in the number of modalities: one of each per modality, all into one bridge space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange, repeat
from torch import nn
from torch.nn import functional

from codi.attention import attend
from codi.components import component
from codi.types import Tokens

BRIDGE_WIDTH = 192


@component
class EnvironmentEncoder(ModelMixin, ConfigMixin):
    """What a modality shows the others: one token per stretch of its timeline.

    Args:
        in_channels: channels of the feature tap and the latent together.
        slots: tokens that share a time (places in a frame, words); each gets an embedding of its own.
        width: channels of the bridge space.
    """

    reads_latent = False

    @register_to_config
    def __init__(self, in_channels: int, slots: int = 1, width: int = BRIDGE_WIDTH) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.LayerNorm(in_channels), nn.Linear(in_channels, width))
        self.slot = nn.Parameter(torch.randn(slots, width) * 0.02)
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * width))
        self.body = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.leave = nn.LayerNorm(width)

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
        embedded = self.level(get_timestep_embedding(1000 * level, self.config.width).to(tokens.dtype))
        scale, shift = embedded[:, None].chunk(2, dim=-1)
        return self.leave(tokens + self.body(tokens * (1 + scale) + shift))


def rotate(heads: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Rotary positions in seconds (RoFormer, Su et al. 2021, equation 34) on the first half of each head.

    The other half stays as it is, and what has no time keeps nothing in the first half: a global token is not mistaken
    for one at time 0.

    Args:
        heads: [batch, heads, positions, channels].
        times: [positions] seconds in float64, NaN where a position has no time.
    """
    timed, untimed = heads.chunk(2, dim=-1)
    pairs = timed.shape[-1] // 2
    # Periods from an eighth of a second (one frame of the slowest video) to 16 s.
    periods = torch.logspace(-3, 4, pairs, base=2.0, dtype=torch.float64, device=times.device)
    angles = 2 * math.pi * times.nan_to_num(0.0)[:, None] / periods
    cos, sin = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    a, b = timed.chunk(2, dim=-1)
    turned = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
    present = (~times.isnan()).to(heads.dtype)[:, None]
    return torch.cat([turned * present, untimed], dim=-1)


@dataclass(frozen=True)
class KeysValues:
    """Environment tokens projected for one bridge, once a step.

    Attributes:
        keys, values: [batch, heads, positions + 1, channels]; the last position is the sink.
        bias: [batch, positions + 1] logarithm of weights, or None.
    """

    keys: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor | None


class Reader(nn.Module):
    """The query and the zero-initialised output of one site."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.to_query = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, inner))
        self.to_out = nn.Linear(inner, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)


@component
class Bridge(ModelMixin, ConfigMixin):
    """All readers of one denoiser.

    Keys and values are projected once for all sites. A sink token of zero value shares the softmax, so that a reader
    can turn away from every partner.

    Args:
        sites: channels of each site, by the name of the attention module it stands at.
        width: channels of the bridge space.
        heads: attention heads; head_channels: channels of each.
    """

    @register_to_config
    def __init__(
        self, sites: Mapping[str, int], width: int = BRIDGE_WIDTH, heads: int = 4, head_channels: int = 32
    ) -> None:
        super().__init__()
        inner = heads * head_channels
        self.to_keys_values = nn.Linear(width, 2 * inner)
        self.sink = nn.Parameter(torch.zeros(heads, head_channels))
        # Module names may not hold dots.
        self.readers = nn.ModuleDict({name.replace(".", "/"): Reader(c, inner) for name, c in sites.items()})

    def prepare(self, tokens: Tokens) -> KeysValues:
        """Project the partners' tokens [batch, positions, width] for all sites."""
        assert tokens.times is not None
        keys, values = rearrange(
            self.to_keys_values(tokens.states), "b n (two h c) -> two b h n c", two=2, h=self.config.heads
        )
        keys = rotate(keys, tokens.times)
        sink = repeat(self.sink, "h c -> b h 1 c", b=keys.shape[0])
        bias = None if tokens.bias is None else functional.pad(tokens.bias, (0, 1))
        return KeysValues(torch.cat([keys, sink], 2), torch.cat([values, torch.zeros_like(sink)], 2), bias)

    def read(self, site: str, hidden: torch.Tensor, times: torch.Tensor, tokens: KeysValues) -> torch.Tensor:
        """What a site adds to its denoiser.

        Args:
            site: name of the attention module.
            hidden: [batch, positions, channels] hidden states.
            times: [positions] seconds, NaN where global.
            tokens: from `prepare`.

        Returns:
            [batch, positions, channels]; zero at initialisation.
        """
        reader = self.readers[site.replace(".", "/")]
        assert isinstance(reader, Reader)
        query = rotate(rearrange(reader.to_query(hidden), "b n (h c) -> b h n c", h=self.config.heads), times)
        mask = None if tokens.bias is None else tokens.bias[:, None, None]
        mixed = attend(query, tokens.keys, tokens.values, mask)
        return reader.to_out(rearrange(mixed, "b h n c -> b n (h c)"))

    def has(self, site: str) -> bool:
        """Whether a reader stands at this attention module."""
        return site.replace(".", "/") in self.readers


def gather(parts: Mapping[str, Tokens]) -> Tokens | None:
    """Tokens of several partners as one sequence; None where there is no partner."""
    if not parts:
        return None
    tokens = list(parts.values())
    bias = None
    if any(t.bias is not None for t in tokens):
        bias = torch.cat([t.states.new_zeros(t.states.shape[:2]) if t.bias is None else t.bias for t in tokens], dim=1)
    times = torch.cat([t.times for t in tokens if t.times is not None])
    return Tokens(torch.cat([t.states for t in tokens], dim=1), times, bias)
