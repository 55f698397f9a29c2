"""Stage `painter_video`: the image denoiser adapted to drawing clips.

The last of a clip is drawn frame by frame, by an image denoiser, from what the clip transformer estimates. The one that
draws pictures has seen no such estimate: a small star that came out as a blob stays one. Low-rank adapters (Hu et al.
2022, "LoRA") learn from drafts, which are what the transformer leaves of scenes from states that it reached by itself.
Where the object is the scene is asked for, elsewhere what the one that draws pictures makes of the draft.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from omegaconf import DictConfig
from peft import LoraConfig
from tqdm import tqdm

from codi.modalities.image.denoiser import ImageDenoiser
from codi.modalities.video.denoiser import VideoDenoiser
from codi.modalities.video.engine import VideoEngine
from codi.training import latents
from codi.training.bridges import frozen_bases
from codi.training.critic import Critic, load_critic
from codi.training.denoisers import UNTIMED, write_attention_out
from codi.training.levels import shifted
from codi.training.loop import FitConfig, Losses, built_once, fit, has_bf16, runs_folder
from codi.types import ClipSpec, Tokens

STAGE: Final = "painter_video"
ADAPTED: Final = [
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "conv1",
    "conv2",
    "ff.net.0.proj",
    "ff.net.2",
]
"""Layers of the UNet that get adapters: all but what knows the level, and the first and the last."""

GRID: Final = shifted(torch.arange(11, 0, -1) / 20, 6.0)
"""Levels that drafts are made along, of which each of the last three leaves an estimate."""

SHOWN_AT: Final = ((0.35, 0.55), (0.25, 0.45), (0.12, 0.3))
"""Levels at which the painter is shown those three."""


@dataclass(frozen=True)
class Frames:
    """A batch for the painter.

    Attributes:
        shown, wanted: clean latents [batch, 12, 8, 8]; what is estimated, and what should be.
        level: [batch] that the first is noised to.
        prompt: of the scene.
        facts: [batch, factors] of what is wanted.
        object: [batch, 1, 8, 8] where that is.
    """

    shown: torch.Tensor
    wanted: torch.Tensor
    level: torch.Tensor
    prompt: Tokens
    facts: torch.Tensor
    object: torch.Tensor


class Scenes:
    """The training scenes."""

    def __init__(self) -> None:
        self.store = latents.load("video")
        self.facts = latents.facts_table(len(self.store))
        self.cells = latents.object_cells(len(self.store))
        self.prompts = latents.Prompts()

    def frame(self, rows: np.ndarray, frames: np.ndarray) -> torch.Tensor:
        """[batch, 12, 8, 8] clean latents."""
        return torch.from_numpy(self.store[rows, frames]).float()


class Drafts:
    """What the transformer leaves of scenes.

    Args:
        scenes: to draw from.
        rows: [count] scenes that were drafted.
        left: [count, 3, 12, 16, 8, 8] the estimates.
    """

    def __init__(self, scenes: Scenes, rows: torch.Tensor, left: torch.Tensor) -> None:
        self.scenes, self.rows, self.left = scenes, rows.numpy(), left

    def draw(self, rng: np.random.Generator, batch: int) -> Frames:
        """Frames of them; some partly drawn already, some all of it, for the painter comes by its own drawings too."""
        picked, late = rng.integers(0, len(self.rows), batch), rng.integers(0, len(SHOWN_AT), batch)
        rows, frames = self.rows[picked], rng.integers(0, self.scenes.store.shape[1], batch)
        wanted = self.scenes.frame(rows, frames)
        which, k, frame = (torch.from_numpy(index) for index in (picked, late, frames))
        left = self.left[which, k, :, frame].float()
        low, high = np.array(SHOWN_AT)[late].T
        done = np.where(rng.random(batch) < 0.3, rng.random(batch), 0.0)
        done[rng.random(batch) < 0.15] = 1.0
        prompt, _ = self.scenes.prompts.draw(self.scenes.facts[rows], rng)
        return Frames(
            torch.lerp(left, wanted, _wide(done)),
            wanted,
            torch.from_numpy(low + (high - low) * rng.random(batch)).float(),
            prompt,
            self.scenes.facts[rows],
            self.scenes.cells[rows, frames][:, None],
        )


@torch.no_grad()
def drafts(transformer: torch.nn.Module, scenes: Scenes, settings: DictConfig) -> dict[str, torch.Tensor]:
    """Scenes noised to a level of GRID and denoised along it by the transformer alone, and what that leaves.

    They begin where a scene's place, hue and motion are settled and its outline is not: what is wanted is the scene.
    """
    rng, denoiser = np.random.default_rng(1), VideoDenoiser(transformer)  # type: ignore[arg-type]
    torch.manual_seed(1)
    rows, left = [], []
    for _ in tqdm(range(settings.count // settings.batch), desc="drafts of clips", mininterval=20):
        picked = rng.integers(0, len(scenes.store), settings.batch)
        clean = torch.from_numpy(scenes.store[picked]).float().transpose(1, 2)
        prompt, _ = scenes.prompts.draw(scenes.facts[picked], rng)
        scale = float(rng.choice(settings.scales))
        rows.append(torch.from_numpy(picked))
        left.append(_drafted(denoiser, clean, prompt, int(rng.integers(settings.starts)), scale))
    return {"rows": torch.cat(rows), "left": torch.cat(left)}


def _drafted(denoiser: VideoDenoiser, clean: torch.Tensor, prompt: Tokens, start: int, scale: float) -> torch.Tensor:
    """[batch, 3, 12, 16, 8, 8] estimates at the last three levels of GRID, from its level `start` on."""
    clock = VideoEngine({}).clock(ClipSpec())
    null = Tokens(torch.zeros_like(prompt.states), None, prompt.bias)
    latent = (1 - GRID[start]) * clean + GRID[start] * torch.randn_like(clean)
    left = []
    for index in range(start, len(GRID)):
        level = GRID[index].expand(len(clean))
        prompted = denoiser(latent, level, prompt, clock).sample
        left.append((latent - GRID[index] * prompted).half())
        if index + 1 < len(GRID):
            pushed = prompted + (scale - 1) * (prompted - denoiser(latent, level, null, clock).sample)
            latent = latent + (GRID[index + 1] - GRID[index]) * pushed
    return torch.stack(left[-len(SHOWN_AT) :], dim=1)


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        painter: learns.
        picture: the image denoiser as it is.
        drafts: what it learns from.
        critic: reads what is drawn.
        weight: of what it finds wrong.
        gain: weight of the object, beside that of everything else.
    """

    painter: ImageDenoiser
    picture: ImageDenoiser
    drafts: Drafts
    critic: Critic
    weight: float
    gain: float

    def loss(self, rng: np.random.Generator, batch: int) -> Losses:
        """Of one batch: "loss" and its parts, the squared error and what the critic finds."""
        frames = self.drafts.draw(rng, batch)
        spread = frames.level.view(-1, 1, 1, 1)
        seen = (1 - spread) * frames.shown + spread * torch.randn_like(frames.shown)
        with torch.no_grad():
            kept = _estimate(self.picture, seen, frames)
        drawn, weight = _estimate(self.painter, seen, frames), 1 + self.gain * frames.object
        wanted = torch.lerp(kept, frames.wanted, frames.object)
        error = (weight * (drawn - wanted).square()).mean() / weight.mean()
        wrong = self.critic.error(torch.lerp(kept, drawn, frames.object), frames.facts, None).mean()
        return {"loss": 10 * error + self.weight * wrong, "error": error, "wrong": wrong}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The same, of the same frames each time."""
        torch.manual_seed(11)
        return {name: float(value) for name, value in self.loss(np.random.default_rng(11), 256).items()}


def _estimate(painter: ImageDenoiser, seen: torch.Tensor, frames: Frames) -> torch.Tensor:
    """What it makes of noised frames, clean."""
    velocity = painter(seen, frames.level, frames.prompt, UNTIMED).sample.float()
    return seen - frames.level.view(-1, 1, 1, 1) * velocity


def adapted(unet: UNet2DConditionModel, rank: int, start: Path | None = None) -> UNet2DConditionModel:
    """The frozen UNet with adapters that begin as nothing, or as those in the file `start`, whatever their rank."""
    unet.requires_grad_(False)
    if start is None:
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=ADAPTED))
    else:
        unet.load_lora_adapter(start.parent, weight_name=start.name, prefix=None)
    return unet.float()


def merged(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same network without adapters: what they add is in its weights."""
    unet.fuse_lora()
    unet.unload_lora()
    return unet


def train_video(settings: DictConfig) -> None:
    """Run the stage; its results are a UNet of the image denoiser's form, and the adapters by themselves."""
    torch.manual_seed(0)
    bases: dict[str, Any] = frozen_bases()
    scenes, path = Scenes(), runs_folder() / STAGE / "drafts.pt"
    drafted = built_once(path, lambda: drafts(bases["video_denoiser"], scenes, settings.drafts))
    picture = bases["image_denoiser"]
    unet = adapted(deepcopy(picture), settings.rank, Path(settings.start) if settings.start else None)
    if settings.fit.get("bf16") and has_bf16(torch.device("cpu")):
        write_attention_out(unet)
    learned = Drafts(scenes, **drafted)
    both = ImageDenoiser(unet), ImageDenoiser(picture)
    objective = Objective(*both, learned, load_critic("image"), settings.critic, settings.gain)
    folder = fit(STAGE, unet, objective.loss, FitConfig(**settings.fit), objective.validate)
    unet.save_lora_adapter(folder / "adapters", weight_name="adapters.safetensors")
    merged(unet).save_pretrained(folder / "final")


def _wide(share: np.ndarray) -> torch.Tensor:
    """[batch] -> [batch, 1, 1, 1]."""
    return torch.from_numpy(share).float().view(-1, 1, 1, 1)
