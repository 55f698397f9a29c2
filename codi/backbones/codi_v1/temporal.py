"""Attention over frames: what turns CoDi's image UNet and CLIP's vision tower into a video UNet and a clip encoder.

Both follow Make-A-Video (Singer et al. 2022, section 3.2) with a continuous relative position bias (Swin v2, Liu et al.
2021, equation 4). No library has these layers.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

MAX_FRAMES = 30
"""Rows of the position tables: longer clips do not exist for these weights."""

RATE_ROW = 3
"""The one row of the frame-rate table that the release ever reads: 4 frames a second."""

SHIFTS = 8
"""Groups of channels of a frame shift; group k looks k frames back."""


def least_variance(dtype: torch.dtype) -> float:
    """The floor of the variance in these norms, where nn.LayerNorm adds an epsilon; higher in half precision."""
    return 1e-3 if dtype.itemsize < 4 else 1e-5


def floored_norm(hidden: torch.Tensor, dim: int) -> torch.Tensor:
    """Zero mean and unit variance along `dim`, the variance floored."""
    variance, mean = torch.var_mean(hidden, dim=dim, unbiased=False, keepdim=True)
    return (hidden - mean) * variance.clamp(min=least_variance(hidden.dtype)).rsqrt()


class RelativePositionBias(nn.Module):
    """One attention bias a head from the signed logarithm of the distance in frames."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, heads)
        )

    def forward(self, frames: int) -> torch.Tensor:
        """[heads, frames, frames]."""
        weight = next(self.parameters())
        at = torch.arange(frames, device=weight.device)
        distance = (at[:, None] - at[None]).to(weight.dtype)
        signed = distance.sign() * (distance.abs() + 1).log()
        return rearrange(self.net(signed[..., None]), "i j h -> h i j")


class FrameAttention(nn.Module):
    """Self-attention over the frames of one place.

    Its norm runs over TIME, not over channels, as released: the official norm reads axis 1 of [batch, time, channels].

    Args:
        channels: of the hidden states.
        inner: of all heads together.
        heads: attention heads.
        placed: whether frames get a position and the frame-rate embedding (the UNet's do, CLIP's do not).
    """

    def __init__(self, channels: int, inner: int, heads: int, placed: bool) -> None:
        super().__init__()
        self.heads = heads
        self.gain = nn.Parameter(torch.ones(channels))
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_kv = nn.Linear(channels, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, channels, bias=False)
        self.positions = nn.Parameter(torch.zeros(MAX_FRAMES, channels)) if placed else None
        self.rate = nn.Parameter(torch.zeros(channels)) if placed else None

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """[places, frames, channels] -> the same shape; `bias` [heads, frames, frames]."""
        if self.positions is not None and self.rate is not None:
            hidden = hidden + self.positions[: hidden.shape[1]] + self.rate
        normed = floored_norm(hidden, dim=1) * self.gain
        query = rearrange(self.to_q(normed), "b t (h c) -> b h t c", h=self.heads)
        key, value = rearrange(self.to_kv(normed), "b t (two h c) -> two b h t c", two=2, h=self.heads)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        return self.to_out(rearrange(mixed, "b h t c -> b t (h c)"))


class FeedForward(nn.Module):
    """GEGLU and a floored norm over channels; in the UNet the second half of the channels looks one frame back."""

    def __init__(self, channels: int, inner: int, shifts: bool) -> None:
        super().__init__()
        self.shifts = shifts
        self.enter = nn.Linear(channels, 2 * inner, bias=False)
        self.gain = nn.Parameter(torch.ones(inner))
        self.leave = nn.Linear(inner, channels, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[places, frames, channels] -> the same shape."""
        value, gate = self.enter(hidden).chunk(2, dim=-1)
        hidden = value * functional.gelu(gate)
        if self.shifts:
            now, before = hidden.chunk(2, dim=-1)
            hidden = torch.cat([now, look_back(before, 1, dim=1)], dim=-1)
        return self.leave(floored_norm(hidden, dim=-1) * self.gain)


def look_back(hidden: torch.Tensor, frames: int, dim: int) -> torch.Tensor:
    """Each frame replaced by the one `frames` before it, zeros where there is none."""
    total = hidden.shape[dim]
    gone = hidden.narrow(dim, 0, min(frames, total))
    return torch.cat([torch.zeros_like(gone), hidden.narrow(dim, 0, max(total - frames, 0))], dim=dim)


class FrameShift(nn.Module):
    """A residual 3x3 convolution whose channel groups look 0 to 7 frames back; zero-initialised, so identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-5)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.conv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, hidden: torch.Tensor, frames: int) -> torch.Tensor:
        """[batch * frames, channels, height, width] -> the same shape."""
        seen = self.conv(functional.silu(self.norm(hidden)))
        groups = rearrange(seen, "(b t) c h w -> b t c h w", t=frames).chunk(SHIFTS, dim=2)
        shifted = torch.cat([look_back(group, k, dim=1) for k, group in enumerate(groups)], dim=2)
        return hidden + rearrange(shifted, "b t c h w -> (b t) c h w")


class TemporalLayer(nn.Module):
    """What follows every residual block of the image UNet when its latent is a clip.

    Args:
        channels: of the residual block.
        inner: of the attention's heads together; heads: attention heads.
        hidden: of the feed-forward.
    """

    def __init__(self, channels: int, inner: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = FrameAttention(channels, inner, heads, placed=True)
        self.distance = RelativePositionBias(channels // 2, heads)
        self.feed_forward = FeedForward(channels, hidden, shifts=True)
        self.shift = FrameShift(channels)

    def forward(self, hidden: torch.Tensor, frames: int) -> torch.Tensor:
        """[batch * frames, channels, height, width] -> the same shape."""
        height, width = hidden.shape[-2:]
        places = rearrange(hidden, "(b t) c h w -> (b h w) t c", t=frames)
        places = places + self.attention(places, self.distance(frames))
        places = places + self.feed_forward(places)
        return self.shift(rearrange(places, "(b h w) t c -> (b t) c h w", h=height, w=width), frames)


class TokenTemporalLayer(nn.Module):
    """The same over the tokens of CLIP's vision tower: no positions in time, no shifts."""

    def __init__(self, channels: int, inner: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = FrameAttention(channels, inner, heads, placed=False)
        self.distance = RelativePositionBias(channels // 2, heads)
        self.feed_forward = FeedForward(channels, hidden, shifts=False)

    def forward(self, tokens: torch.Tensor, frames: int) -> torch.Tensor:
        """[batch * frames, tokens, channels] -> the same shape."""
        places = rearrange(tokens, "(b t) n c -> (b n) t c", t=frames)
        places = places + self.attention(places, self.distance(frames))
        places = places + self.feed_forward(places)
        return rearrange(places, "(b n) t c -> (b t) n c", n=tokens.shape[1])
