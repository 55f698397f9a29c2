"""Stage `decoder_image`: the picture decoder trained on, behind an encoder that stays as it is.

Denoisers know the encoder's latents and nothing else may move them. What they leave there is a little blurred, most of
all where an outline is thin, and a decoder that has only seen encoded pictures draws the blur. So it learns from what
the denoisers estimate of real scenes that were noised, too, and is asked for the scene.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from einops import rearrange
from omegaconf import DictConfig

from codi.modalities.image.denoiser import ImageDenoiser
from codi.modalities.video.denoiser import VideoDenoiser
from codi.modalities.video.engine import VideoEngine
from codi.networks.patch_autoencoder import PatchAutoencoder
from codi.training import latents
from codi.training.autoencoders import draw_pictures, drawing_loss
from codi.training.bridges import frozen_bases
from codi.training.denoisers import UNTIMED
from codi.training.levels import noised
from codi.training.loop import FitConfig, Losses, fit, runs_folder
from codi.types import ClipSpec
from codi.worlds.sounding_shapes.factors import FRAMES
from codi.worlds.sounding_shapes.render import render_video

Seen = tuple[torch.Tensor, torch.Tensor]
"""Latents [batch, channels, height, width], and the pictures [batch, 3, 64, 64] in [-1, 1] that they should become."""

LEARN: Final = ("body.decoder.", "body.post_quant_conv.", "shortcut_out.")
"""Of the autoencoder, what decodes."""


class Leavings:
    """What denoisers leave of training scenes.

    Args:
        denoisers: by component, frozen.
        highest: noise level, by modality, up to which a scene is noised.
    """

    def __init__(self, denoisers: dict[str, Any], highest: DictConfig) -> None:
        self.image = ImageDenoiser(denoisers["image_denoiser"])
        self.video = VideoDenoiser(denoisers["video_denoiser"])
        self.highest, self.clock = highest, VideoEngine({}).clock(ClipSpec())
        self.store = latents.load("video")
        self.facts, self.prompts = latents.facts_table(len(self.store)), latents.Prompts()

    def of_clips(self, rng: np.random.Generator, batch: int) -> Seen:
        """Of whole clips, by the video denoiser."""
        rows = rng.integers(0, len(self.store), max(1, batch // FRAMES))
        clean = torch.from_numpy(self.store[rows]).float().transpose(1, 2)
        left = self._left(self.video, clean, rows, self.clock, self.highest.video, rng)
        return rearrange(left, "b c f h w -> (b f) c h w"), pictures_of(np.concatenate(list(map(_clip, rows))))

    def of_pictures(self, rng: np.random.Generator, batch: int) -> Seen:
        """Of single frames, two to a clip, by the image denoiser."""
        rows = np.repeat(rng.integers(0, len(self.store), batch // 2), 2)
        frames = rng.integers(0, FRAMES, len(rows))
        clean = torch.from_numpy(self.store[rows, frames]).float()
        left = self._left(self.image, clean, rows, UNTIMED, self.highest.image, rng)
        clips = [_clip(row) for row in rows[::2]]
        return left, pictures_of(np.stack([clips[k // 2][frame] for k, frame in enumerate(frames)]))

    @torch.no_grad()
    def _left(
        self,
        denoiser: Callable[..., Any],
        clean: torch.Tensor,
        rows: np.ndarray,
        clock: torch.Tensor,
        highest: float,
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """The denoiser's estimates of what is clean."""
        level = highest * torch.rand(len(clean))
        prompt, _ = self.prompts.draw(self.facts[rows], rng)
        noisy, _ = noised(clean, level)
        predicted = denoiser(noisy, level, prompt, clock).sample
        return noisy - level.view(-1, *([1] * (clean.ndim - 1))) * predicted


def encoded(model: PatchAutoencoder, rng: np.random.Generator, batch: int, noise: float) -> Seen:
    """Latents as the encoder makes them of scenes and textures, with a little noise."""
    pictures = draw_pictures(rng, batch)
    with torch.no_grad():
        clean = model.encode(pictures)
    spread = noise * torch.rand(batch, 1, 1, 1) * clean.std(dim=(0, 2, 3), keepdim=True)
    return clean + spread * torch.randn_like(clean), pictures


def pictures_of(frames: np.ndarray) -> torch.Tensor:
    """Frames [batch, 64, 64, 3] of bytes -> [batch, 3, 64, 64] in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def _clip(row: int) -> np.ndarray:
    return render_video(latents.scene_at(int(row)))


def train_image(settings: DictConfig) -> None:
    """Run the stage; the autoencoder's folder gets the new decoder."""
    torch.manual_seed(0)
    finished = runs_folder() / "autoencoder_image" / "final"
    model = PatchAutoencoder.from_pretrained(finished)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(LEARN))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU
    leavings = Leavings(frozen_bases(), settings.highest)
    sources: dict[str, Callable[[np.random.Generator, int], Seen]] = {
        "encoded": partial(encoded, model, noise=settings.noise),
        "pictures": leavings.of_pictures,
        "clips": leavings.of_clips,
    }
    shares = [settings.shares[name] for name in sources]

    def drawn(latent: torch.Tensor, pictures: torch.Tensor) -> Losses:
        output = model.decode(latent.contiguous(memory_format=torch.channels_last))
        return drawing_loss(output.float(), pictures)

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        name = rng.choice(list(sources), p=shares)
        losses = drawn(*sources[name](rng, batch))
        return losses | {name: losses["mse"].detach()}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        rng = np.random.default_rng(11)
        torch.manual_seed(11)
        return {name: float(drawn(*source(rng, 64))["mse"]) for name, source in sources.items()}

    fit("decoder_image", model, loss, FitConfig(**settings.fit), validate)
    model.save_pretrained(finished)
