"""Bridges: how one modality's denoising reads what the environment encoders of the others show.

A reader has two zero-initialised paths. Attention finds what a position needs anywhere among the partners' tokens; what
the partners show at its own moment is added beside it, without having to be found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange, repeat
from torch import nn
from torch.nn import functional

from codi.attention import attend
from codi.components import component
from codi.environment import BRIDGE_WIDTH
from codi.types import Tokens

Weighed = Callable[[torch.Tensor, torch.Tensor, tuple[int, ...]], torch.Tensor]

SPREAD, REACH = 1 / 16, 1 / 4
"""Seconds: how far what is added is taken from about a moment, and beyond which it fades to nothing."""


def rotate(heads: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Rotary positions in seconds (RoFormer, Su et al. 2021, equation 34) on the first half of each head.

    The other half stays as it is, and what has no time keeps nothing in the first half: a global token is not mistaken
    for one at time 0.

    Args:
        heads: [batch, heads, positions, channels].
        times: [positions] seconds in float64, NaN where a position has no time.
    """
    timed, untimed = heads.chunk(2, dim=-1)
    cos, sin, present = _turns(times, timed.shape[-1] // 2, heads.dtype)
    a, b = timed.chunk(2, dim=-1)
    turned = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
    return torch.cat([turned * present, untimed], dim=-1)


@lru_cache(maxsize=32)  # (tensors are told apart by identity: the sites of a pass share one clock)
def _turns(times: torch.Tensor, pairs: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cosines and sines [positions, pairs] of the rotations, and [positions, 1] 1 where there is a time, else 0."""
    # Periods from an eighth of a second (one frame of the slowest video) to 16 s.
    periods = torch.logspace(-3, 4, pairs, base=2.0, dtype=torch.float64, device=times.device)
    angles = 2 * math.pi * times.nan_to_num(0.0)[:, None] / periods
    return angles.cos().to(dtype), angles.sin().to(dtype), (~times.isnan()).to(dtype)[:, None]


@dataclass(frozen=True)
class Added:
    """What partners show, as it is added at its moments.

    Attributes:
        added: [batch, positions, width] of each token.
        times: [positions] seconds, NaN where a token has no time.
        parts: positions of each partner.
        weighed: how far tokens count at each moment, `nearness` or another.
        found: what `near` gave, by clock: sites that share one share it.
    """

    added: torch.Tensor
    times: torch.Tensor
    parts: tuple[int, ...]
    weighed: Weighed
    found: dict[torch.Tensor, torch.Tensor] = field(default_factory=dict, kw_only=True)

    def near(self, times: torch.Tensor) -> torch.Tensor:
        """[batch, positions, width] what the partners show at the positions' [positions] seconds."""
        if times not in self.found:
            self.found[times] = self.weighed(times, self.times, self.parts).to(self.added.dtype) @ self.added
        return self.found[times]


@dataclass(frozen=True)
class KeysValues(Added):
    """Environment tokens projected for one bridge, once a step.

    Attributes:
        keys, values: [batch, heads, positions + 1, channels]; the last position is the sink.
        bias: [batch, positions + 1] logarithm of weights, or None.
    """

    keys: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor | None


class Reader(nn.Module):
    """The query and the zero-initialised outputs of one site.

    After Flamingo's gated blocks (Alayrac et al. 2022, section 2.2) a small feed-forward network weighs what was read
    against what stands at the position: the frozen layers behind it have never seen the one beside the other.

    Args:
        channels: of the site; inner: of the attention; width: of the bridge space.
    """

    def __init__(self, channels: int, inner: int, width: int) -> None:
        super().__init__()
        self.to_query = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, inner))
        self.to_out = nn.Linear(inner, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)
        self.to_add = nn.Linear(width, channels, bias=False)
        nn.init.zeros_(self.to_add.weight)
        seen = channels + inner + width
        last = nn.Linear(2 * inner, channels, bias=False)
        nn.init.zeros_(last.weight)
        self.dense = nn.Sequential(nn.Linear(seen, 2 * inner), nn.GELU(), last)

    def forward(self, hidden: torch.Tensor, found: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
        """What the site adds to its denoiser, [batch, positions, channels].

        Args:
            hidden: [batch, positions, channels] what stands there.
            found: [batch, positions, inner] what attention found.
            near: [batch, positions, width] what the partners show at the same moments.
        """
        both = torch.cat([self.to_query[0](hidden), found, near], dim=-1)
        return self.to_out(found) + self.to_add(near) + self.dense(both)  # type: ignore[no-any-return]


@component
class Bridge(ModelMixin, ConfigMixin):
    """All readers of one denoiser.

    Keys and values are projected once for all sites. A sink token of zero value shares the softmax, so that a reader
    can turn away from every partner.

    What is added at the same moment follows cross-modal conditioning as positional encoding (Ishii et al. 2024, section
    III-C), with seconds for indices, so that rates may differ, and a sum over partners.

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
        self.to_added = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        # Module names may not hold dots.
        self.readers = nn.ModuleDict({name.replace(".", "/"): Reader(c, inner, width) for name, c in sites.items()})

    def prepare(self, tokens: Tokens) -> KeysValues:
        """Project the partners' tokens [batch, positions, width] for all sites."""
        assert tokens.times is not None
        keys, values = rearrange(
            self.to_keys_values(tokens.states), "b n (two h c) -> two b h n c", two=2, h=self.config.heads
        )
        keys = rotate(keys, tokens.times)
        sink = repeat(self.sink, "h c -> b h 1 c", b=keys.shape[0])
        bias = None if tokens.bias is None else functional.pad(tokens.bias, (0, 1))
        return KeysValues(
            self._added(tokens),
            tokens.times,
            tokens.parts or (len(tokens.times),),
            nearness,
            torch.cat([keys, sink], 2),
            torch.cat([values, torch.zeros_like(sink)], 2),
            bias,
        )

    def _added(self, tokens: Tokens) -> torch.Tensor:
        added = self.to_added(tokens.states)
        return added if tokens.bias is None else added * tokens.bias.exp()[..., None]  # type: ignore[no-any-return]

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
        mask = None if tokens.bias is None else tokens.bias[:, None, None]
        mixed = attend(self.query(site, hidden, times), tokens.keys, tokens.values, mask)
        found = rearrange(mixed, "b h n c -> b n (h c)")
        return self._reader(site)(hidden, found, tokens.near(times))  # type: ignore[no-any-return]

    def query(self, site: str, hidden: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """What a site asks with, [batch, heads, positions, channels], its clock in it; arguments as of `read`."""
        query = self._reader(site).to_query(hidden)
        return rotate(rearrange(query, "b n (h c) -> b h n c", h=self.config.heads), times)

    def _reader(self, site: str) -> Reader:
        reader = self.readers[site.replace(".", "/")]
        assert isinstance(reader, Reader)
        return reader

    def has(self, site: str) -> bool:
        """Whether a reader stands at this attention module."""
        return site.replace(".", "/") in self.readers


def nearness(queries: torch.Tensor, times: torch.Tensor, parts: tuple[int, ...]) -> torch.Tensor:
    """How far each token counts at each position's moment: per partner, weights of sum 1, less beyond REACH.

    What has no time is there at every moment.

    Args:
        queries: [positions] seconds, NaN where global.
        times: [tokens] seconds, NaN where global.
        parts: tokens of each partner, in their order.

    Returns:
        [positions, tokens].
    """
    shares = []
    for moments in times.split(list(parts)):
        gap = (queries[:, None] - moments).nan_to_num(0.0)
        beyond = gap.new_full((len(gap), 1), REACH)
        energy = -(torch.cat([gap, beyond], 1) / SPREAD).square() / 2
        shares.append(energy.softmax(1)[:, :-1])
    return torch.cat(shares, 1)


def gather(parts: Mapping[str, Tokens]) -> Tokens | None:
    """Tokens of several partners as one sequence; None where there is no partner."""
    if not parts:
        return None
    tokens = list(parts.values())
    bias = None
    if any(t.bias is not None for t in tokens):
        bias = torch.cat([t.states.new_zeros(t.states.shape[:2]) if t.bias is None else t.bias for t in tokens], dim=1)
    times = torch.cat([t.times for t in tokens if t.times is not None])
    lengths = tuple(t.states.shape[1] for t in tokens)
    return Tokens(torch.cat([t.states for t in tokens], dim=1), times, bias, lengths)
