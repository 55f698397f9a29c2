"""The denoisers of CoDi: one walk through encoder, middle and decoder, over two kinds of blocks.

`PictureUNet` is diffusers' UNet2DConditionModel: image, video frame by frame, audio as a mel picture. `TextUNet` has no
space: its hidden state is a vector that attention reads as a few tokens (Versatile Diffusion, Xu et al. 2022). Both are
walked by `Trunk.forward`, which is where a clip's temporal layers and the readers of joint generation enter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers import UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn import functional

from codi.backbones.codi_v1.layers import attend, to_one_token, transformer
from codi.backbones.codi_v1.modes import OFFICIAL, checked
from codi.components import component


@dataclass(frozen=True)
class Rung:
    """One step of the walk, in the release's order; what a rung lacks is None.

    Attributes:
        site: its name: `encoder_<k>`, `middle_<k>` or `decoder_<k>`, k as in the release's key names.
        block: residual block, (hidden, embedded time) -> hidden.
        attention: transformer that reads the prompt.
        resample: down or up by 2.
    """

    site: str
    block: nn.Module | None = None
    attention: Any = None
    resample: nn.Module | None = None


class Aside(Protocol):
    """What enters a walk beside the prompt."""

    def after_block(self, site: str, hidden: torch.Tensor) -> torch.Tensor:
        """A residual block's output, with its temporal layer where the latent is a clip."""
        ...

    def after_rung(self, site: str, hidden: torch.Tensor) -> torch.Tensor:
        """A rung's output, with its reader where other outputs are read."""
        ...


class Nothing:
    """No temporal layers and no readers: an image or a sound generated alone."""

    def after_block(self, site: str, hidden: torch.Tensor) -> torch.Tensor:
        """The same."""
        return hidden

    def after_rung(self, site: str, hidden: torch.Tensor) -> torch.Tensor:
        """The same."""
        return hidden


@dataclass(frozen=True)
class Levels:
    """The shape of a UNet, by level from the finest.

    Attributes:
        widths: channels.
        blocks: residual blocks of the encoder; the decoder has one more.
        attention: whether transformers stand in it.
    """

    widths: Sequence[int]
    blocks: Sequence[int]
    attention: Sequence[bool]

    def encoder(self) -> Iterator[tuple[str, int, int | None]]:
        """Site, level and block of every rung; the block of a resampling rung is None."""
        index = 1
        for level, count in enumerate(self.blocks):
            for block in range(count):
                yield f"encoder_{index}", level, block
                index += 1
            if level < len(self.blocks) - 1:
                yield f"encoder_{index}", level, None
                index += 1

    def decoder(self) -> Iterator[tuple[str, int, int]]:
        """Site, level and block of every rung, from the coarsest level."""
        index = 0
        for level in reversed(range(len(self.blocks))):
            for block in range(self.blocks[level] + 1):
                yield f"decoder_{index}", level, block
                index += 1

    def last(self, level: int, block: int) -> bool:
        """Whether a decoder's rung leads to a finer level."""
        return level > 0 and block == self.blocks[level]

    def sites(self, chosen: Sequence[bool]) -> dict[str, int]:
        """Channels of the rungs with a block, by site, of the levels that are chosen."""
        both = [*((s, level) for s, level, block in self.encoder() if block is not None)]
        both += [(site, level) for site, level, _ in self.decoder()]
        return {site: self.widths[level] for site, level in both if chosen[level]}


class Trunk(ModelMixin, ConfigMixin):
    """The walk. Subclasses say what the blocks are."""

    levels: Levels

    @property
    def time_embedding(self) -> nn.Module:
        """Sinusoids of the timestep -> [batch, 4 * width]."""
        raise NotImplementedError

    def enter(self, latent: torch.Tensor) -> torch.Tensor:
        """Latent -> hidden."""
        raise NotImplementedError

    def encoder(self) -> Iterator[Rung]:
        """Rungs of the encoder, each of which leaves a skip."""
        raise NotImplementedError

    def middle(self) -> Iterator[Rung]:
        """Rungs of the middle."""
        raise NotImplementedError

    def decoder(self) -> Iterator[Rung]:
        """Rungs of the decoder, each of which takes a skip."""
        raise NotImplementedError

    def leave(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden -> noise."""
        raise NotImplementedError

    def embed(self, time: torch.Tensor) -> torch.Tensor:
        """Timesteps [batch], 0 to 999 -> [batch, 4 * width]."""
        width = self.levels.widths[0] // self.config.channel_mult[0]
        waves = get_timestep_embedding(time, width, flip_sin_to_cos=True, downscale_freq_shift=0)
        return self.time_embedding(waves.to(self.dtype))

    def attend(self, attention: Any, hidden: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """A transformer over the positions of the hidden state."""
        return attend(attention, hidden, context)

    def forward(
        self,
        latent: torch.Tensor,
        embedded: torch.Tensor,
        context: torch.Tensor,
        aside: Aside | None = None,
    ) -> torch.Tensor:
        """Predict the noise.

        Args:
            latent: [batch * frames, ...] noisy.
            embedded: [batch * frames, 4 * width] from `embed`.
            context: [batch, tokens, context] the prompt.
            aside: temporal layers and readers.

        Returns:
            The noise, of the latent's shape.
        """
        aside = aside or Nothing()
        hidden = self.enter(latent)
        skips = [hidden]
        for rung in self.encoder():
            hidden = aside.after_rung(rung.site, self._climb(rung, hidden, embedded, context, aside))
            skips.append(hidden)
        for rung in self.middle():
            hidden = self._climb(rung, hidden, embedded, context, aside)
        if self.config.mode == OFFICIAL:
            # The release keeps its skips in the list that it goes on writing to: the middle overwrites the last of
            # them, and the first decoder block gets cat(middle, middle). Partner mode has the UNet of the paper.
            skips[-1] = hidden
        for rung in self.decoder():
            hidden = torch.cat([hidden, skips.pop()], dim=1)
            hidden = aside.after_rung(rung.site, self._climb(rung, hidden, embedded, context, aside))
        return self.leave(hidden)

    def _climb(
        self, rung: Rung, hidden: torch.Tensor, embedded: torch.Tensor, context: torch.Tensor, aside: Aside
    ) -> torch.Tensor:
        if rung.block is not None:
            hidden = aside.after_block(rung.site, rung.block(hidden, embedded))
        if rung.attention is not None:
            hidden = self.attend(rung.attention, hidden, context)
        return hidden if rung.resample is None else rung.resample(hidden)


@component
class PictureUNet(Trunk):
    """The UNet of Stable Diffusion 1, diffusers' class below `base`.

    Args:
        channels: of the latent.
        width: channels of the finest level; channel_mult: of each level, times the width.
        blocks: residual blocks of each level; attention: whether a level has transformers.
        heads: attention heads, the same at every level.
        context: channels of the prompt.
        one_token: the prompt is one token, so that the dead projections of its cross-attention are left out.
        mode: "official" or "partner" (see `modes`); here it decides the last skip.
    """

    @register_to_config
    def __init__(  # noqa: PLR0913
        self,
        channels: int = 4,
        width: int = 320,
        channel_mult: Sequence[int] = (1, 2, 4, 4),
        blocks: Sequence[int] = (2, 2, 2, 2),
        attention: Sequence[bool] = (True, True, True, False),
        heads: int = 8,
        context: int = 768,
        one_token: bool = True,
        mode: str = OFFICIAL,
    ) -> None:
        super().__init__()
        checked(mode)
        self.levels = Levels([width * mult for mult in channel_mult], list(blocks), list(attention))
        kinds = [("CrossAttn" if attended else "") for attended in attention]
        self.base = UNet2DConditionModel(
            in_channels=channels,
            out_channels=channels,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            block_out_channels=tuple(self.levels.widths),
            layers_per_block=tuple(blocks),
            cross_attention_dim=context,
            # A name that diffusers kept for its own files' sake: it is the number of heads.
            attention_head_dim=heads,
        )
        if one_token:
            to_one_token(self.base)

    @property
    def time_embedding(self) -> nn.Module:
        """The base's."""
        return self.base.time_embedding

    def enter(self, latent: torch.Tensor) -> torch.Tensor:
        """Latent -> hidden."""
        return self.base.conv_in(latent)

    def leave(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden -> noise."""
        return self.base.conv_out(functional.silu(self.base.conv_norm_out(hidden)))

    def encoder(self) -> Iterator[Rung]:
        """Rungs of the encoder."""
        for site, level, block in self.levels.encoder():
            down = self.base.down_blocks[level]
            if block is None:
                yield Rung(site, resample=down.downsamplers[0])
            else:
                attention = down.attentions[block] if self.levels.attention[level] else None
                yield Rung(site, down.resnets[block], attention)

    def middle(self) -> Iterator[Rung]:
        """Rungs of the middle."""
        middle = self.base.mid_block
        yield Rung("middle_0", middle.resnets[0], middle.attentions[0])
        yield Rung("middle_2", middle.resnets[1])

    def decoder(self) -> Iterator[Rung]:
        """Rungs of the decoder."""
        for site, level, block in self.levels.decoder():
            up = self.base.up_blocks[len(self.levels.blocks) - 1 - level]
            attention = up.attentions[block] if self.levels.attention[level] else None
            yield Rung(site, up.resnets[block], attention, up.upsamplers[0] if self.levels.last(level, block) else None)


class VectorBlock(nn.Module):
    """A residual block over a vector, for hidden states without space."""

    def __init__(self, entering: int, leaving: int, embedded: int) -> None:
        super().__init__()
        self.norm1, self.linear1 = nn.GroupNorm(32, entering, eps=1e-5), nn.Linear(entering, leaving)
        self.time = nn.Linear(embedded, leaving)
        self.norm2, self.linear2 = nn.GroupNorm(32, leaving, eps=1e-5), nn.Linear(leaving, leaving)
        self.shortcut = nn.Identity() if entering == leaving else nn.Linear(entering, leaving)

    def forward(self, hidden: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """[batch, entering] -> [batch, leaving]."""
        inner = self.linear1(functional.silu(self.norm1(hidden))) + self.time(functional.silu(embedded))
        return self.shortcut(hidden) + self.linear2(functional.silu(self.norm2(inner)))


@component
class TextUNet(Trunk):
    """The 0-D UNet: blocks see a vector of `width * tokens` numbers, attention sees `tokens` tokens of it.

    Args:
        channels: of the latent, a vector.
        width, channel_mult, blocks, attention, heads, context, one_token, mode: as of `PictureUNet`.
        tokens: positions that the vector has in attention, of each level.
    """

    @register_to_config
    def __init__(  # noqa: PLR0913
        self,
        channels: int = 768,
        width: int = 320,
        channel_mult: Sequence[int] = (1, 2, 4, 4),
        blocks: Sequence[int] = (2, 2, 2, 2),
        attention: Sequence[bool] = (True, True, True, False),
        tokens: Sequence[int] = (4, 4, 4, 4),
        heads: int = 8,
        context: int = 768,
        one_token: bool = True,
        mode: str = OFFICIAL,
    ) -> None:
        super().__init__()
        checked(mode)
        self.levels = Levels([width * mult for mult in channel_mult], list(blocks), list(attention))
        sizes = [wide * long for wide, long in zip(self.levels.widths, tokens, strict=True)]
        embedded = 4 * width
        self.embedding = TimestepEmbedding(width, embedded)
        self.conv_in = nn.Linear(channels, width * tokens[0])
        self.residuals, self.prompted, self.resampled = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        size, skips = width * tokens[0], [width * tokens[0]]
        for site, level, block in self.levels.encoder():
            if block is None:
                self.resampled[site] = nn.Linear(size, size)
            else:
                self.residuals[site] = VectorBlock(size, sizes[level], embedded)
                size = sizes[level]
            skips.append(size)
        for site in ("middle_0", "middle_2"):
            self.residuals[site] = VectorBlock(size, size, embedded)
        for site, level, block in self.levels.decoder():
            self.residuals[site] = VectorBlock(size + skips.pop(), sizes[level], embedded)
            size = sizes[level]
            if self.levels.last(level, block):
                self.resampled[site] = nn.Linear(size, size)
        attended = self.levels.sites(attention) | {"middle_0": self.levels.widths[-1]}
        for site, wide in attended.items():
            self.prompted[site] = transformer(wide, heads, context, one_token)
        self.norm_out = nn.GroupNorm(32, self.levels.widths[0], eps=1e-5)
        self.conv_out = nn.Linear(size, channels)

    @property
    def time_embedding(self) -> nn.Module:
        """Its own."""
        return self.embedding

    def attend(self, attention: Any, hidden: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """The vector as tokens, through a transformer."""
        return through_tokens(attention, hidden, context)

    def enter(self, latent: torch.Tensor) -> torch.Tensor:
        """Latent [batch, channels] -> hidden."""
        return self.conv_in(latent)

    def leave(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden -> noise."""
        normed = self.norm_out(hidden.unflatten(1, (self.levels.widths[0], -1)))
        return self.conv_out(functional.silu(normed).flatten(1))

    def _rung(self, site: str) -> Rung:
        tables = (self.residuals, self.prompted, self.resampled)
        return Rung(site, *(table[site] if site in table else None for table in tables))  # noqa: SIM401 (no dict)

    def encoder(self) -> Iterator[Rung]:
        """Rungs of the encoder."""
        return (self._rung(site) for site, _, _ in self.levels.encoder())

    def middle(self) -> Iterator[Rung]:
        """Rungs of the middle."""
        return (self._rung(site) for site in ("middle_0", "middle_2"))

    def decoder(self) -> Iterator[Rung]:
        """Rungs of the decoder."""
        return (self._rung(site) for site, _, _ in self.levels.decoder())


def through_tokens(attention: Any, vector: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """A vector [batch, channels * tokens] through a transformer over its tokens."""
    picture = vector.unflatten(1, (attention.config.in_channels, -1, 1))
    return attend(attention, picture, context).flatten(1)
