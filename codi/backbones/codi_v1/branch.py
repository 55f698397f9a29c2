"""The networks of one output, and one pass of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import nn

from codi.backbones.codi_v1.environment import FrameLayers, LatentEnvironment, Readers, VectorEnvironment
from codi.backbones.codi_v1.unet import Trunk


@dataclass(frozen=True)
class Beside:
    """What enters one walk beside the prompt: the `Aside` of a pass.

    Attributes:
        frames: of the clip, 1 where there is none.
        layers: temporal layers, None where the latent is no clip.
        readers: None where nothing is read.
        tokens: [batch, tokens, channels] environment tokens that the readers see.
    """

    frames: int = 1
    layers: FrameLayers | None = None
    readers: Readers | None = None
    tokens: torch.Tensor | None = None

    def after_block(self, site: str, hidden: torch.Tensor) -> torch.Tensor:
        """With the temporal layer."""
        return hidden if self.layers is None else self.layers(site, hidden, self.frames)

    def after_rung(self, site: str, hidden: torch.Tensor) -> torch.Tensor:
        """With the reader."""
        return hidden if self.readers is None or self.tokens is None else self.readers(site, hidden, self.tokens)


@dataclass(frozen=True)
class Branch:
    """One output: its UNet and what stands around it.

    Attributes:
        unet: the denoiser; a clip's is the image's.
        environment: the environment encoder, None where outputs are made alone.
        readers: the readers, None likewise.
        layers: temporal layers; with them the latent is a clip.
        environment_layers: those of the environment encoder.
    """

    unet: Trunk
    environment: LatentEnvironment | VectorEnvironment | None = None
    readers: Readers | None = None
    layers: FrameLayers | None = None
    environment_layers: FrameLayers | None = None

    def show(self, latent: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """The environment token of a noisy latent: [batch, ...] at timesteps [batch] -> [batch, 1, channels]."""
        assert self.environment is not None
        folded, frames = self._fold(latent)
        return self.environment(folded, self._embed(time, frames), frames, Beside(frames, self.environment_layers))

    def predict(
        self, latent: torch.Tensor, time: torch.Tensor, context: torch.Tensor, tokens: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The noise in a latent.

        Args:
            latent: [batch, ...]; a clip is [batch, channels, frames, height, width].
            time: [batch] timesteps, 0 to 999.
            context: [batch, 1, channels] the prompt.
            tokens: [batch, partners, channels] environment tokens to read; None reads nothing.

        Returns:
            Of the latent's shape.
        """
        folded, frames = self._fold(latent)
        noise = self.unet(folded, self._embed(time, frames), context, Beside(frames, self.layers, self.readers, tokens))
        return noise if self.layers is None else rearrange(noise, "(b t) c h w -> b c t h w", t=frames)

    def _fold(self, latent: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Frames into the batch."""
        if self.layers is None:
            return latent, 1
        return rearrange(latent, "b c t h w -> (b t) c h w"), latent.shape[2]

    def _embed(self, time: torch.Tensor, frames: int) -> torch.Tensor:
        return self.unet.embed(time).repeat_interleave(frames, dim=0)


def branches(modules: Mapping[str, nn.Module]) -> dict[str, Branch]:
    """The outputs that a set of components can make, by modality."""
    found = {name: branch(name, modules) for name in ("text", "image", "audio") if f"{name}_denoiser" in modules}
    if "video_frames" in modules and "image_denoiser" in modules:
        found["video"] = branch("video", modules)
    return found


_PLACES = {
    "video": ("image_denoiser", "image_environment", "image_readers", "video_frames", "video_environment_frames"),
}
"""A clip's denoiser is the image's, with temporal layers."""


def branch(name: str, modules: Mapping[str, nn.Module | None]) -> Branch:
    """One output's networks; components that are not loaded are None."""
    places = _PLACES.get(name, (f"{name}_denoiser", f"{name}_environment", f"{name}_readers"))
    return Branch(*(modules.get(place) for place in places))  # type: ignore[arg-type]
