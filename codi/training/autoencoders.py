"""Stages `autoencoder_image` and `autoencoder_audio`: pictures of one modality through a `PatchAutoencoder`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch.nn import functional

from codi.modalities.audio.mel import mel_picture
from codi.networks.patch_autoencoder import PatchAutoencoder
from codi.training.loop import FitConfig, Losses, fit
from codi.worlds.sounding_shapes import render
from codi.worlds.sounding_shapes.scene import sample_scene
from codi.worlds.sounding_shapes.sound import render_audio
from codi.worlds.sounding_shapes.textures import random_sound, random_texture

Draw = Callable[[np.random.Generator, int], torch.Tensor]


def draw_pictures(rng: np.random.Generator, batch: int) -> torch.Tensor:
    """[batch, 3, 64, 64] in [-1, 1]: two thirds frames of scenes, one third textures outside the world."""
    pictures = [_picture(rng) for _ in range(batch)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _picture(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 1 / 3:
        return random_texture(rng)
    return render.render_image(sample_scene(rng), int(rng.integers(16)))


def draw_mels(rng: np.random.Generator, batch: int) -> torch.Tensor:
    """[batch, 1, 64, 256] in [-1, 1]: three quarters sounds of scenes, one quarter sounds outside the world."""
    sounds = [random_sound(rng) if rng.random() < 0.25 else render_audio(sample_scene(rng)) for _ in range(batch)]
    gains = 10 ** torch.from_numpy(rng.uniform(-12, 4, (batch, 1))).float().div(20)
    return mel_picture((torch.from_numpy(np.stack(sounds)) * gains).clamp(-1, 1))


def reconstruction_loss(model: PatchAutoencoder, pictures: torch.Tensor) -> Losses:
    """L1 weighted to edges + L1 of the gradients + a small KL term.

    Small objects are a few per cent of a picture and their outline is what names them, so pixels weigh more where the
    picture changes. The decoder sees latents with a little noise, as a denoiser will leave them.
    """
    posterior = model.posterior(pictures)
    latents = posterior.sample()
    spread = 0.15 * torch.rand(len(latents), 1, 1, 1) * latents.detach().std(dim=(0, 2, 3), keepdim=True)
    noise = spread * torch.randn_like(latents)
    drawn = drawing_loss(model.decode_raw(latents + noise), pictures)
    kl = posterior.kl().mean() / latents[0].numel()
    return drawn | {"loss": drawn["loss"] + 1e-4 * kl, "kl": kl}


def drawing_loss(output: torch.Tensor, pictures: torch.Tensor) -> Losses:
    """L1 weighted to edges + L1 of the gradients, as "loss", with its parts and the squared error."""
    edges = functional.max_pool2d(_gradients(pictures).abs().sum(1, keepdim=True), 3, 1, 1)
    weight = 1 + 4 * edges.clamp(max=1)
    pixel = (weight * (output - pictures).abs()).mean()
    gradient = (_gradients(output) - _gradients(pictures)).abs().mean()
    mse = (output - pictures).square().mean()
    return {"loss": pixel + gradient, "pixel": pixel, "gradient": gradient, "mse": mse}


def _gradients(pictures: torch.Tensor) -> torch.Tensor:
    """Finite differences along height and width, [batch, 2 * channels, height, width]."""
    down = functional.pad(pictures.diff(dim=-2), (0, 0, 0, 1))
    right = functional.pad(pictures.diff(dim=-1), (0, 1))
    return torch.cat([down, right], dim=1)


@torch.no_grad()
def measure_statistics(model: PatchAutoencoder, draw: Draw, batches: int = 8) -> None:
    """Store the mean and the scale of the raw latents in the config.

    A channel's spread after scaling goes with its weight in the picture (to the power 3/4), and is 1 in the mean square
    over channels. With equal spreads a denoiser has to settle layout and texture at the same noise level; so the coarse
    channels rise from the noise first.
    """
    rng = np.random.default_rng(7)
    means = torch.cat([model.posterior(draw(rng, 32)).mean for _ in range(batches)])
    spread, clean = means.std(dim=(0, 2, 3)), means[:32]
    seen, picture = torch.zeros_like(spread), model.decode_raw(clean)
    for channel in range(len(spread)):
        moved = clean.clone()
        moved[:, channel] += 0.5 * spread[channel] * torch.randn_like(moved[:, channel])
        seen[channel] = (model.decode_raw(moved) - picture).square().mean().sqrt()
    wanted = seen**0.75
    wanted = wanted / wanted.square().mean().sqrt()
    shift, scale = means.mean(dim=(0, 2, 3)), wanted / spread
    model.register_to_config(shift=tuple(shift.tolist()), scale=tuple(scale.tolist()))


def train(name: str, draw: Draw, settings: DictConfig) -> PatchAutoencoder:
    """Run one of the two stages and return the finished autoencoder."""
    torch.manual_seed(0)
    model = PatchAutoencoder(**OmegaConf.to_container(settings.model))
    model.start_from_principal_components(draw(np.random.default_rng(3), 512))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU
    config = FitConfig(**settings.fit)

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        return reconstruction_loss(model, draw(rng, batch).contiguous(memory_format=torch.channels_last))

    def validate() -> dict[str, float]:
        with torch.no_grad():
            return {k: float(v) for k, v in reconstruction_loss(model, draw(np.random.default_rng(11), 64)).items()}

    folder = fit(name, model, loss, config, validate)
    measure_statistics(model, draw)
    model.save_pretrained(folder / "final")
    return model


def train_image(settings: DictConfig) -> None:
    """Stage `autoencoder_image`."""
    train("autoencoder_image", draw_pictures, settings)


def train_audio(settings: DictConfig) -> None:
    """Stage `autoencoder_audio`."""
    train("autoencoder_audio", draw_mels, settings)
