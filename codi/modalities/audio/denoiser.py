"""The audio denoiser: diffusers' UNet2DConditionModel on 4 x columns mel latents."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from einops import rearrange, reduce, repeat

from codi.networks.unet_denoiser import UNetDenoiser

SLOTS = 1
"""Environment tokens of a column of 62.5 ms."""


def audio_unet(
    latent_channels: int = 16, widths: tuple[int, ...] = (64, 128), cross_attention_dim: int = 256
) -> UNet2DConditionModel:
    """codi-mini's audio UNet, untrained: the decoder attends at full time resolution, where events are placed.

    Two transformer blocks at each place: what happens when must agree from one end to the other.
    """
    return UNet2DConditionModel(
        sample_size=(4, 32),
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=widths,
        layers_per_block=1,
        transformer_layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=4,
        norm_num_groups=16,
    )


class AudioDenoiser(UNetDenoiser):
    """Latents [batch, 16, 4, columns]; the clock holds the middle of each column."""

    def site_times(self, positions: int, latent: torch.Tensor, clock: torch.Tensor) -> torch.Tensor:
        """Times of a site that sees the latent halved as often as its positions say."""
        height, width = latent.shape[-2:]
        halvings = round((height * width / positions) ** 0.5)
        middles = reduce(clock, "(w s) -> w", "mean", s=halvings)
        return repeat(middles, "w -> (h w)", h=height // halvings)

    def features(self, tapped: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """[batch, columns, channels]: frequencies folded into channels."""
        return rearrange(torch.cat([tapped, latent], dim=1), "b c h w -> b w (c h)")
