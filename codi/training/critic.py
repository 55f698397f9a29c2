"""Stage `critic_image`: reads an object's factors from a picture's latent, and judges the image denoiser by it.

The squared error of a latent hardly feels whether an object is a heart or a diamond, so a small denoiser learns colours
in minutes and shapes in hours. A perceptual term says it aloud (as Lin and Yang 2024, "Diffusion model with perceptual
loss", do with a denoiser's own features): what the critic reads from the estimate of the clean latent must be what is
true. The critic sees latents of the training set only; it is no part of the bundle, nor of the readers that measure it.
"""

from __future__ import annotations

import numpy as np
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from codi.training import latents
from codi.training.loop import FitConfig, Losses, fit, runs_folder
from codi.worlds.sounding_shapes.factors import FACTORS, SHOWN

WEIGHTS = "final.safetensors"


class LatentCritic(nn.Module):
    """Latents [batch, 12, 8, 8] -> logits of the factors that a picture shows."""

    def __init__(self, channels: int = 12, width: int = 96) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)),
            nn.SiLU(),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(4 * width, len(FACTORS[name])) for name in SHOWN["image"]})

    def forward(self, latent: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits by factor."""
        grid = self.body(latent).flatten(2)
        pooled = torch.cat([grid.mean(-1), grid.amax(-1)], dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}

    def error(self, latent: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """[batch] mean cross-entropy over factors; facts: [batch, factors]."""
        columns = {name: facts[:, list(FACTORS).index(name)] for name in self.heads}
        logits = self(latent)
        rows = [
            functional.cross_entropy(logits[n], t, reduction="none", label_smoothing=0.05) for n, t in columns.items()
        ]
        return torch.stack(rows).mean(0)


def train(settings: DictConfig) -> None:
    """Run the stage."""
    torch.manual_seed(0)
    store = latents.load("video")
    facts, model = latents.facts_table(len(store)), LatentCritic()
    kept = len(store) - 200

    def draw(rng: np.random.Generator, first: int, last: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        clips, frames = rng.integers(first, last, batch), rng.integers(0, store.shape[1], batch)
        return torch.from_numpy(store[clips, frames]).float(), facts[clips]

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        clean, truth = draw(rng, 0, kept, batch)
        noisy = clean + 0.5 * torch.rand(batch, 1, 1, 1) * torch.randn_like(clean)
        return {"loss": model.error(noisy, truth).mean()}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        clean, truth = draw(np.random.default_rng(1), kept, len(store), 512)
        columns = {name: truth[:, list(FACTORS).index(name)] for name in model.heads}
        return {
            name: float((logits.argmax(1) == columns[name]).float().mean()) for name, logits in model(clean).items()
        }

    folder = fit("critic_image", model, loss, FitConfig(**settings.fit), validate)
    save_file(model.state_dict(), folder / WEIGHTS)


def load_critic() -> LatentCritic:
    """The finished critic, frozen."""
    model = LatentCritic()
    model.load_state_dict(load_file(runs_folder() / "critic_image" / WEIGHTS))
    return model.eval().requires_grad_(False)
