"""The video denoiser: a transformer that decides what happens, and a painter that draws it frame by frame.

Experts by noise level (eDiff-I, Balaji et al. 2022): near the noise, where a clip's motion is settled, a transformer
over all patches of all frames; near the picture a UNet that draws pictures, fitted to drawing clips (stage
`painter_video`). As in AnimateDiff, a trained module moves an image model. It draws what the transformer estimates, all
frames under the same noise: drawn each under its own, a still object trembles.
"""

from __future__ import annotations

from functools import cache

import torch
from diffusers import UNet2DConditionModel
from einops import rearrange, repeat

from codi.bridge import Bridge
from codi.modalities.image.denoiser import ImageDenoiser
from codi.networks.clip_transformer import ClipTransformer
from codi.networks.unet_denoiser import SIDE, pooled
from codi.port import Port
from codi.types import Denoised, Tokens

SLOTS = 4
"""Environment tokens of a frame: its quarters."""

DRAWN, DECIDED = 0.3, 0.5
"""Levels: below the first the painter alone predicts, above the second the transformer alone, both between."""


class VideoDenoiser:
    """Latents [batch, 12, frames, 8, 8]; the clock holds the middle of each frame.

    Args:
        transformer: over clips.
        painter: a UNet of the image denoiser's form; without it the transformer predicts at every level.
        bridge: the readers in the transformer. What partners change is settled above DRAWN.
    """

    def __init__(
        self, transformer: ClipTransformer, painter: UNet2DConditionModel | None = None, bridge: Bridge | None = None
    ) -> None:
        self.model = transformer
        self.painter = None if painter is None else ImageDenoiser(painter)
        self.port = Port(transformer, bridge)

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """One pass; see `UNetDenoiser.__call__`. Only what is asked for is computed."""
        share = ((DECIDED - level) / (DECIDED - DRAWN)).clamp(0, 1).view(-1, 1, 1, 1, 1).to(latent.dtype)
        painted = self.painter is not None and bool(share.any())

        @cache
        def decided() -> tuple[torch.Tensor, torch.Tensor]:
            with self.port.reading(prompt, partners, lambda n: repeat(clock, "f -> (f n)", n=n // len(clock))):
                return self.model(latent, 1000 * level, prompt.states, clock)  # type: ignore[no-any-return]

        def sample() -> torch.Tensor:
            velocity = decided()[0]
            if not painted:
                return velocity
            return (1 - share) * velocity + share * self._drawn(latent, velocity, level, prompt)

        return Denoised(sample, lambda: _quarters(decided()[1], latent))

    def _drawn(self, latent: torch.Tensor, velocity: torch.Tensor, level: torch.Tensor, prompt: Tokens) -> torch.Tensor:
        """The velocity to what the painter makes of the transformer's estimate.

        It sees the estimate of each frame under the noise of the first, so that what stands still is drawn the same in
        all of them.
        """
        assert self.painter is not None
        sigma = level.view(-1, 1, 1, 1, 1).to(latent.dtype).clamp_min(1e-3)
        estimate = latent - sigma * velocity
        common = (velocity + estimate)[:, :, :1]
        seen = (1 - sigma) * estimate + sigma * common
        drawn = seen - sigma * _by_frame(self.painter, seen, level, prompt)
        return (latent - drawn) / sigma


def _by_frame(painter: ImageDenoiser, latent: torch.Tensor, level: torch.Tensor, prompt: Tokens) -> torch.Tensor:
    """What the painter predicts for each frame, in the latent's shape."""
    frames = latent.shape[2]
    bias = None if prompt.bias is None else prompt.bias.repeat_interleave(frames, 0)
    asked = Tokens(prompt.states.repeat_interleave(frames, 0), bias=bias)
    no_time = torch.full((1,), torch.nan, dtype=torch.float64, device=latent.device)
    pictures = rearrange(latent, "b c f h w -> (b f) c h w")
    drawn = painter(pictures, level.repeat_interleave(frames), asked, no_time).sample
    return rearrange(drawn, "(b f) c h w -> b c f h w", f=frames)


def feature_channels(transformer: ClipTransformer) -> int:
    """Channels of the features: a quarter's hidden states and latent cells, at 8x8 latents."""
    side, config = SIDE // 2, transformer.config
    return int((side // config.patch) ** 2 * config.width + side**2 * config.channels)


def _quarters(hidden: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
    """Hidden states and the latent, the space of each quarter folded: [batch, frames * 4, channels].

    Environment encoders know 8x8: frames of another size are averaged to that.
    """
    patch = latent.shape[-1] // hidden.shape[-2]
    maps = rearrange(hidden, "b f h w c -> b f c h w"), rearrange(latent, "b c f h w -> b f c h w")
    both = pooled(maps[0], SIDE // patch), pooled(maps[1], SIDE)
    shown, cells = (rearrange(m, "b f c (h p) (w q) -> b (f h w) (c p q)", h=2, w=2) for m in both)
    return torch.cat([shown, cells.to(shown.dtype)], dim=-1)
