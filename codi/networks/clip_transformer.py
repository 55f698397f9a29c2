"""A diffusion transformer over clips: every patch of every frame attends to every other, at its time in seconds."""

from __future__ import annotations

from typing import Final

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, get_2d_sincos_pos_embed, get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from einops import rearrange, repeat
from torch import nn

from codi.attention import attend
from codi.bridge import rotate
from codi.components import component

PATCH: Final = 4
"""Latent cells of a token along each side."""


@component
class ClipTransformer(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """A DiT (Peebles and Xie 2023) of diffusers' blocks with adaLN-single (PixArt-alpha, Chen et al. 2023).

    Time enters as rotations of the self-attention's queries and keys by seconds, not by indices of frames; places in a
    frame are sines. It predicts a velocity through EDM's preconditioning (Karras et al. 2022, table 1, for rectified
    flow's line): near the noise the network itself says what is clean, near the
    picture what is noise, and what it says has about unit variance at every level.

    Convolutions over the cells of each frame stand around the blocks, with a skip past them (a U-ViT, Hoogeboom et al.
    2023, "simple diffusion"): tokens of whole patches know where things are, the convolutions how they look.

    Args:
        channels: of the latent.
        patch: latent cells of a token along each side.
        width, layers, heads: of the blocks.
        cell_width: channels of the convolutions.
        cross_attention_dim: channels of the prompt's tokens.
    """

    @register_to_config
    def __init__(
        self,
        channels: int = 12,
        patch: int = PATCH,
        width: int = 256,
        layers: int = 6,
        heads: int = 8,
        cross_attention_dim: int = 256,
        cell_width: int = 64,
    ) -> None:
        super().__init__()
        self.cells = Cells(channels, patch, width, cell_width)
        self.enter = nn.Linear(channels * patch**2, width)
        self.level = TimestepEmbedding(width, width)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(
                width,
                heads,
                width // heads,
                cross_attention_dim=cross_attention_dim,
                activation_fn="gelu-approximate",
                attention_bias=True,
                norm_type="ada_norm_single",
                norm_elementwise_affine=False,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.last = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, channels * patch**2)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self._clock = Clock()
        for module in self.modules():
            if isinstance(module, Attention) and not module.is_cross_attention:
                module.set_processor(TimedAttention(self._clock))

    @property
    def tap(self) -> int:
        """The block whose output is shown to others: two thirds of the way."""
        return len(self.blocks) * 2 // 3

    @property
    def bridge_sites(self) -> dict[str, int]:
        """Where readers stand: the prompt's cross-attentions of all blocks but the first third, with their channels."""
        return {f"blocks.{k}.attn2": self.config.width for k in range(len(self.blocks) // 3, len(self.blocks))}

    def forward(
        self,
        latent: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        times: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass.

        Args:
            latent: [batch, channels, frames, height, width].
            timestep: [batch], 1000 x level.
            encoder_hidden_states: [batch, K, cross_attention_dim] the prompt.
            times: [frames] seconds in float64.

        Returns:
            The velocity, of the latent's shape, and hidden states [batch, frames, rows, columns, width].
        """
        level = (timestep / 1000).view(-1, 1, 1, 1, 1).to(latent.dtype)
        power = (1 - level) ** 2 + level**2
        frames, patch = latent.shape[2], self.config.patch
        rows, columns = latent.shape[3] // patch, latent.shape[4] // patch
        scaled = latent * power.rsqrt()
        embedded = self.level(get_timestep_embedding(timestep, self.config.width).to(latent.dtype))
        seen = self.cells.see(scaled, embedded)
        hidden = self.enter(patches(scaled, patch)) + self.cells.enter(patches(seen, patch))
        hidden = hidden + self._places(rows, columns, latent).repeat(frames, 1)
        self._clock.times = repeat(times, "f -> (f n)", n=rows * columns)
        modulation, tapped = self.modulation(embedded), hidden
        for k, block in enumerate(self.blocks):
            hidden = block(hidden, encoder_hidden_states=encoder_hidden_states, timestep=modulation)
            if k == self.tap - 1:
                tapped = hidden
        scale, shift = self.last(nn.functional.silu(embedded))[:, None].chunk(2, dim=-1)
        hidden = self.norm(hidden) * (1 + scale) + shift
        said = unpatched(self.leave(hidden), latent, patch) + self.cells.draw(hidden, seen, embedded)
        velocity = (2 * level - 1) / power * latent - power.rsqrt() * said
        return velocity, rearrange(tapped, "b (f h w) c -> b f h w c", f=frames, h=rows)

    def _places(self, rows: int, columns: int, like: torch.Tensor) -> torch.Tensor:
        """[rows * columns, width] sines of the place in a frame."""
        places = get_2d_sincos_pos_embed(self.config.width, (rows, columns), output_type="pt", device=like.device)
        return places.to(like.dtype)


class Cells(nn.Module):
    """What convolutions see in the cells of each frame, and what they draw there; both add nothing at first.

    Args:
        channels, patch, width: as of ClipTransformer.
        inner: channels of the convolutions.
    """

    def __init__(self, channels: int, patch: int, width: int, inner: int) -> None:
        super().__init__()
        self.patch = patch
        groups = min(16, inner)
        self.first = nn.Conv2d(channels, inner, 3, padding=1)
        self.down = ResnetBlock2D(in_channels=inner, temb_channels=width, groups=groups)
        self.enter = nn.Linear(inner * patch**2, width)
        self.leave = nn.Linear(width, inner * patch**2)
        self.up = ResnetBlock2D(in_channels=2 * inner, out_channels=inner, temb_channels=width, groups=groups)
        self.last = nn.Conv2d(inner, channels, 3, padding=1)
        for parameter in (*self.enter.parameters(), *self.last.parameters()):
            nn.init.zeros_(parameter)

    def see(self, latent: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """Latents [batch, channels, frames, h, w] -> features of the same shape with `inner` channels."""
        frames = latent.shape[2]
        seen = self.first(rearrange(latent, "b c f h w -> (b f) c h w"))
        seen = self.down(seen, embedded.repeat_interleave(frames, 0))
        return rearrange(seen, "(b f) c h w -> b c f h w", f=frames)

    def draw(self, hidden: torch.Tensor, seen: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """Tokens and what was seen -> what is said of every cell, of the latents' shape."""
        frames = seen.shape[2]
        both = torch.cat([unpatched(self.leave(hidden), seen, self.patch), seen], dim=1)
        drawn = self.up(rearrange(both, "b c f h w -> (b f) c h w"), embedded.repeat_interleave(frames, 0))
        return rearrange(self.last(nn.functional.silu(drawn)), "(b f) c h w -> b c f h w", f=frames)


def patches(cells: torch.Tensor, side: int) -> torch.Tensor:
    """[batch, c, frames, h, w] -> [batch, positions, channels of a patch]."""
    return rearrange(cells, "b c f (h p) (w q) -> b (f h w) (c p q)", p=side, q=side)


def unpatched(tokens: torch.Tensor, like: torch.Tensor, side: int) -> torch.Tensor:
    """The inverse of `patches`, for frames and rows as `like` has them."""
    frames, rows = like.shape[2], like.shape[3] // side
    return rearrange(tokens, "b (f h w) (c p q) -> b c f (h p) (w q)", f=frames, h=rows, p=side, q=side)


class Clock:
    """The times of the positions of the pass under way, seconds in float64."""

    times: torch.Tensor


class TimedAttention:
    """diffusers attention processor: self-attention whose queries and keys are rotated by seconds."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """[batch, positions, channels] -> the same shape."""
        query, key, value = (
            rearrange(project(hidden_states), "b n (h c) -> b h n c", h=attn.heads)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        mixed = attend(rotate(query, self.clock.times), rotate(key, self.clock.times), value)
        return attn.to_out[1](attn.to_out[0](rearrange(mixed, "b h n c -> b n (h c)")))
