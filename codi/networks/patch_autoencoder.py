"""A convolutional autoencoder behind a space-to-depth stem.

The stem is what deep-compression autoencoders use (Chen et al. 2024, "Deep Compression Autoencoder", section 3):
most of the downsampling costs nothing, so the convolutions work where they are cheap. As there, a linear shortcut
around the body carries what a linear map can (residual autoencoding); it starts as a PCA of the patches, which saves
the first hundreds of steps. The body is diffusers' `AutoencoderKL`.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import nn

from codi.components import component


@component
class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Media as a picture [batch, channels, height, width] in [-1, 1] <-> normalised latents.

    Args:
        channels: channels of the picture (3 for RGB, 1 for a mel spectrogram).
        patch: height and width of a patch of the space-to-depth stem.
        widths: channels of the body's levels; each level after the first halves height and width.
        latent_channels: channels of the latent.
        shift: per-channel mean of the raw latents over the training data.
        scale: per-channel reciprocal of their standard deviation.
    """

    @register_to_config
    def __init__(
        self,
        channels: int = 3,
        patch: tuple[int, int] = (4, 4),
        widths: tuple[int, ...] = (96, 128),
        latent_channels: int = 12,
        shift: tuple[float, ...] | None = None,
        scale: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        levels = len(widths)
        inner = channels * patch[0] * patch[1]
        reduction = 2 ** (levels - 1)
        self.whole = (patch[0] * reduction, patch[1] * reduction)
        pixels = channels * self.whole[0] * self.whole[1]
        self.shortcut_in = nn.Conv2d(pixels, latent_channels, 1)
        self.shortcut_out = nn.Conv2d(latent_channels, pixels, 1)
        self.body = AutoencoderKL(
            in_channels=inner,
            out_channels=inner,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=tuple(widths),
            layers_per_block=1,
            latent_channels=latent_channels,
            norm_num_groups=16,
            mid_block_add_attention=False,
        )

    @torch.no_grad()
    def start_from_principal_components(self, media: torch.Tensor) -> None:
        """Make the untrained autoencoder the whitened PCA of the patches of `media` [batch, channels, height, width].

        The shortcuts hold it; the body starts silent and learns what a linear map cannot carry.
        """
        patches = rearrange(_fold(media, self.whole), "b c h w -> (b h w) c")
        mean = patches.mean(dim=0)
        _, _, axes = torch.pca_lowrank(patches - mean, q=self.config.latent_channels, center=False)
        spread = ((patches - mean) @ axes).std(dim=0)
        self.shortcut_in.weight.copy_((axes / spread).T[..., None, None])
        self.shortcut_in.bias.copy_(-(mean @ axes) / spread)  # type: ignore[union-attr]
        self.shortcut_out.weight.copy_((axes * spread)[..., None, None])
        self.shortcut_out.bias.copy_(mean)  # type: ignore[union-attr]
        for silent in (self.body.quant_conv, self.body.decoder.conv_out):
            nn.init.zeros_(silent.weight)
            nn.init.zeros_(silent.bias)
        self.body.quant_conv.bias[self.config.latent_channels :] = -5.0

    def posterior(self, media: torch.Tensor) -> DiagonalGaussianDistribution:
        """The raw (not normalised) posterior of [batch, channels, height, width]."""
        body = self.body.encode(_fold(media, self.config.patch)).latent_dist
        shortcut = self.shortcut_in(_fold(media, self.whole))
        return DiagonalGaussianDistribution(torch.cat([body.mean + shortcut, body.logvar], dim=1))

    def decode_raw(self, latents: torch.Tensor) -> torch.Tensor:
        """Raw latents -> [batch, channels, height, width]."""
        body = _unfold(self.body.decode(latents).sample, self.config.patch)
        return body + _unfold(self.shortcut_out(latents), self.whole)

    def encode(self, media: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] in [-1, 1] -> the posterior's mean, shifted and scaled a channel."""
        shift, scale = self._statistics(media)
        return (self.posterior(media).mean - shift) * scale

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Normalised latents -> [batch, channels, height, width]; values may leave [-1, 1] a little."""
        shift, scale = self._statistics(latents)
        return self.decode_raw(latents / scale + shift)

    def forward(self, media: torch.Tensor) -> torch.Tensor:
        """The reconstruction of [batch, channels, height, width]."""
        return self.decode(self.encode(media))

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = self.config.latent_channels
        shift = like.new_tensor(self.config.shift or (0.0,) * count).view(1, count, 1, 1)
        scale = like.new_tensor(self.config.scale or (1.0,) * count).view(1, count, 1, 1)
        return shift, scale


def _fold(media: torch.Tensor, patch: tuple[int, int]) -> torch.Tensor:
    return rearrange(media, "b c (h p) (w q) -> b (c p q) h w", p=patch[0], q=patch[1])


def _unfold(patches: torch.Tensor, patch: tuple[int, int]) -> torch.Tensor:
    return rearrange(patches, "b (c p q) h w -> b c (h p) (w q)", p=patch[0], q=patch[1])
