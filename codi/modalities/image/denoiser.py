"""The image denoiser: diffusers' UNet2DConditionModel on 8x8 latents."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from einops import repeat

from codi.networks.unet_denoiser import UNetDenoiser, picture_patches

SLOTS = 4
"""Environment tokens of a picture: its quarters."""


def image_unet(
    latent_channels: int = 12, widths: tuple[int, ...] = (64, 128), cross_attention_dim: int = 256, depth: int = 2
) -> UNet2DConditionModel:
    """codi-mini's image UNet, untrained: the decoder attends at both resolutions, the encoder at 4x4.

    Args:
        latent_channels: of the latent.
        widths: channels at 8x8 and at 4x4.
        cross_attention_dim: channels of the prompt's tokens.
        depth: transformer blocks at a site of the 4x4 level.
    """
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=cross_attention_dim,
        transformer_layers_per_block=(1, depth),
        attention_head_dim=4,
        norm_num_groups=16,
    )


class ImageDenoiser(UNetDenoiser):
    """Latents [batch, 12, 8, 8]; the clock holds one time, NaN for a picture that stands at no instant."""

    def site_times(self, positions: int, latent: torch.Tensor, clock: torch.Tensor) -> torch.Tensor:
        """The picture's one time at every position."""
        return repeat(clock, "1 -> n", n=positions)

    def features(self, tapped: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """[batch, 4, channels]."""
        return picture_patches(tapped, latent)
