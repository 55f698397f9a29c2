"""One pass of all outputs together: the release's forward, for parity and for training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange

from codi.backbones.codi_v1.environment import FrameLayers, Readers
from codi.backbones.codi_v1.unet import Trunk


@dataclass
class Beside:
    """`Aside` of one pass.

    Attributes:
        frames: of the clip, 1 where there is none.
        layers: temporal layers, None where the latent is no clip.
        readers: of joint outputs, None alone.
        tokens: [batch, partners, channels] that the readers see.
    """

    frames: int = 1
    layers: FrameLayers | None = None
    readers: Readers | None = None
    tokens: torch.Tensor | None = None

    def after_block(self, site: str, hidden: torch.Tensor) -> torch.Tensor:
        return hidden if self.layers is None else self.layers(site, hidden, self.frames)

    def after_rung(self, site: str, hidden: torch.Tensor) -> torch.Tensor:
        return hidden if self.readers is None or self.tokens is None else self.readers(site, hidden, self.tokens)


@dataclass
class Side:
    """The networks of one output."""

    unet: Trunk
    environment: torch.nn.Module | None = None
    readers: Readers | None = None
    layers: FrameLayers | None = None
    environment_layers: FrameLayers | None = None

    def fold(self, latent):
        """Frames into the batch: (folded, frames)."""
        if self.layers is None:
            return latent, 1
        return rearrange(latent, "b c t h w -> (b t) c h w"), latent.shape[2]

    def show(self, latent: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        folded, frames = self.fold(latent)
        embedded = self.unet.embed(time).repeat_interleave(frames, dim=0)
        return self.environment(folded, embedded, frames, Beside(frames, self.environment_layers))

    def predict(self, latent, time, context, tokens=None, aliased=True):
        folded, frames = self.fold(latent)
        embedded = self.unet.embed(time).repeat_interleave(frames, dim=0)
        aside = Beside(frames, self.layers, self.readers, tokens)
        noise = self.unet(folded, embedded, context, aside, aliased)
        return noise if self.layers is None else rearrange(noise, "(b t) c h w -> b c t h w", t=frames)
