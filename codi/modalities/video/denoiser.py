"""The video denoiser: the image UNet with motion modules (AnimateDiff, Guo et al. 2023), diffusers' UNetMotionModel."""

from __future__ import annotations

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from einops import rearrange, repeat

from codi.networks.unet_denoiser import UNetDenoiser, picture_patches

SLOTS = 4
"""Environment tokens of a frame: its quarters."""

SHARED = 0.75
"""Share of the noise's variance that a clip's frames have in common."""


def motion_adapter(widths: tuple[int, ...] = (64, 128), frames: int = 32) -> MotionAdapter:
    """codi-mini's motion modules, untrained."""
    return MotionAdapter(
        block_out_channels=widths,
        motion_layers_per_block=1,
        motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=4,
        motion_norm_num_groups=16,
        motion_max_seq_length=frames,
        use_motion_mid_block=True,
    )


def video_unet(image: UNet2DConditionModel, motion: MotionAdapter) -> UNetMotionModel:
    """The image UNet's weights (copied) around the motion modules, where and as the image UNet is."""
    unet = UNetMotionModel.from_unet2d(image, motion).to(image.device)
    return unet if unet.dtype == image.dtype else unet.to(image.dtype)


class VideoDenoiser(UNetDenoiser):
    """Latents [batch, 12, frames, 8, 8]; the clock holds the middle of each frame.

    The frames' noise is correlated (Ge et al. 2023, "Preserve your own correlation", equation 6): what stands still is
    then what the image UNet makes of the common part, alike in all frames, and the motion modules have only to move it.
    A scheduler that adds noise of its own while it samples adds it white.
    """

    def noise(self, white: torch.Tensor) -> torch.Tensor:
        """White noise [batch, 12, frames, 8, 8] -> noise of unit variance, any two frames correlated by SHARED."""
        common = white.mean(2, keepdim=True)
        own = 1 - SHARED
        return own**0.5 * (white - common) + (own + SHARED * white.shape[2]) ** 0.5 * common

    def frames(self, latent: torch.Tensor) -> int:
        """Frames of the clip."""
        return latent.shape[2]

    def site_times(self, positions: int, latent: torch.Tensor, clock: torch.Tensor) -> torch.Tensor:
        """Each frame's time at all its positions."""
        return repeat(clock, "f -> (f n)", n=positions)

    def features(self, tapped: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """[batch, frames * 4, channels]."""
        patches = picture_patches(tapped, rearrange(latent, "b c f h w -> (b f) c h w"))
        return rearrange(patches, "(b f) s c -> b (f s) c", f=latent.shape[2])
