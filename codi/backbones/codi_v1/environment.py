"""Environment encoders and readers: how CoDi's outputs are meant to see each other.

    environment encoder : a noisy latent and its timestep -> ONE token of unit norm
    readers             : transformers between a denoiser's blocks whose context is such tokens

They are V and the cross-attention to it of CoDi (Tang et al. 2023, section 3.3).

A modality without space (text) has vector blocks where the others have convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.downsampling import Downsample2D
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from einops import rearrange
from torch import nn
from torch.nn import functional

from codi.backbones.codi_v1.layers import attend, transformer
from codi.backbones.codi_v1.modes import OFFICIAL, checked
from codi.backbones.codi_v1.temporal import TemporalLayer
from codi.backbones.codi_v1.unet import Aside, Nothing, VectorBlock, through_tokens
from codi.components import component


def stages(widths: Sequence[int], blocks: Sequence[int]) -> list[int | None]:
    """Channels of each block in the release's order; None is a step down."""
    steps: list[int | None] = []
    for width, count in zip(widths, blocks, strict=True):
        steps += [*([width] * count), None]
    return steps[:-1]


@component
class LatentEnvironment(ModelMixin, ConfigMixin):
    """The environment encoder of latents with space.

    Args:
        channels: of the latent.
        width: first channels; the time embedding has 8 times as many.
        widths: of each level; blocks: residual blocks of each.
        out_channels: of the token.
    """

    @register_to_config
    def __init__(
        self,
        channels: int = 4,
        width: int = 160,
        widths: Sequence[int] = (320, 640, 1280),
        blocks: Sequence[int] = (1, 1, 1),
        out_channels: int = 1280,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, width, 3, padding=1)
        self.steps = nn.ModuleDict()
        now = width
        for index, wide in enumerate(stages(widths, blocks), start=1):
            if wide is None:
                self.steps[f"environment_{index}"] = Downsample2D(now, use_conv=True, name="op")
            else:
                self.steps[f"environment_{index}"] = ResnetBlock2D(
                    in_channels=now, out_channels=wide, temb_channels=8 * width, eps=1e-5
                )
                now = wide
        self.norm_out = nn.GroupNorm(32, now, eps=1e-5)
        self.conv_out = nn.Conv2d(now, out_channels, 3, padding=1)

    def forward(
        self, latent: torch.Tensor, embedded: torch.Tensor, frames: int = 1, aside: Aside | None = None
    ) -> torch.Tensor:
        """One token.

        Args:
            latent: [batch * frames, channels, height, width] noisy.
            embedded: [batch * frames, 8 * width] embedded timesteps.
            frames: of a clip, which share the token.
            aside: temporal layers of a clip.

        Returns:
            [batch, 1, out_channels] of unit norm.
        """
        aside = aside or Nothing()
        hidden = self.conv_in(latent)
        for site, step in self.steps.items():
            if isinstance(step, ResnetBlock2D):
                hidden = aside.after_block(site, step(hidden, embedded))
            else:
                hidden = step(hidden)
        seen = self.conv_out(functional.silu(self.norm_out(hidden)))
        return unit(rearrange(seen, "(b t) c h w -> b (t h w) c", t=frames).mean(dim=1))


@component
class VectorEnvironment(ModelMixin, ConfigMixin):
    """The environment encoder of latents without space.

    Args:
        channels, width, widths, blocks, out_channels: as of `LatentEnvironment`.
        tokens: positions of each level, times which the widths are vectors.
    """

    @register_to_config
    def __init__(
        self,
        channels: int = 768,
        width: int = 160,
        widths: Sequence[int] = (320, 640, 1280),
        blocks: Sequence[int] = (1, 1, 1),
        tokens: Sequence[int] = (4, 4, 4),
        out_channels: int = 1280,
    ) -> None:
        super().__init__()
        now = width * tokens[0]
        self.conv_in = nn.Linear(channels, now)
        self.steps = nn.ModuleDict()
        sizes = [wide * long for wide, long in zip(widths, tokens, strict=True)]
        for index, size in enumerate(stages(sizes, blocks), start=1):
            self.steps[f"environment_{index}"] = (
                nn.Linear(now, now) if size is None else VectorBlock(now, size, 8 * width)
            )
            now = now if size is None else size
        self.norm_out = nn.GroupNorm(32, widths[-1], eps=1e-5)
        self.conv_out = nn.Linear(now, out_channels)

    def forward(
        self, latent: torch.Tensor, embedded: torch.Tensor, frames: int = 1, aside: Aside | None = None
    ) -> torch.Tensor:
        """[batch, channels] -> [batch, 1, out_channels] of unit norm."""
        hidden = self.conv_in(latent)
        for step in self.steps.values():
            hidden = step(hidden, embedded) if isinstance(step, VectorBlock) else step(hidden)
        normed = self.norm_out(hidden.unflatten(1, (self.config.widths[-1], -1)))
        return unit(self.conv_out(functional.silu(normed).flatten(1)))


def unit(token: torch.Tensor) -> torch.Tensor:
    """[batch, channels] -> [batch, 1, channels] of unit norm, without an epsilon, as released."""
    return (token / token.norm(dim=-1, keepdim=True))[:, None]


@component
class Readers(ModelMixin, ConfigMixin):
    """The readers of one denoiser.

    Args:
        sites: channels of each reader, by the rung that it follows.
        heads: attention heads; context: channels of environment tokens.
        mode: "official" or "partner" (see `modes`). In official mode a reader sees one token, its own output's, and its
            cross-attention has no query and no key; in partner mode it sees a token of each of the others.
        spatial: whether hidden states have space; a vector is read as tokens.
    """

    @register_to_config
    def __init__(
        self, sites: Mapping[str, int], heads: int = 8, context: int = 1280, mode: str = OFFICIAL, spatial: bool = True
    ) -> None:
        super().__init__()
        one_token = checked(mode) == OFFICIAL
        self.readers = nn.ModuleDict(
            {site: transformer(channels, heads, context, one_token) for site, channels in sites.items()}
        )

    def forward(self, site: str, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """A rung's output with what is read at it; rungs without a reader pass through."""
        if site not in self.readers:
            return hidden
        return (attend if self.config.spatial else through_tokens)(self.readers[site], hidden, tokens)


@component
class FrameLayers(ModelMixin, ConfigMixin):
    """The temporal layers of a clip, one after each residual block.

    Args:
        sites: channels, channels of all attention heads together and of the feed-forward, by the rung's site.
        heads: attention heads.
    """

    @register_to_config
    def __init__(self, sites: Mapping[str, Sequence[int]], heads: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {site: TemporalLayer(channels, inner, heads, hidden) for site, (channels, inner, hidden) in sites.items()}
        )

    def forward(self, site: str, hidden: torch.Tensor, frames: int) -> torch.Tensor:
        """[batch * frames, channels, height, width] -> the same shape."""
        return self.layers[site](hidden, frames)
