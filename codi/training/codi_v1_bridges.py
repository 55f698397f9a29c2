"""`codi train bridge`: new bridges for a codi-v1 bundle in partner mode, its bases frozen.

The released readers were run on their own output's token alone, so they have learnt nothing of a partner's. Here the
environment encoders and the readers of a set of outputs are trained together on clips with sound and captions: each
output is noised, shows its environment token, and must predict its noise while it reads the others' (Tang et al. 2023,
equation 3). Levels are mostly shared, sometimes independent, and sometimes one side is clean: a given is that.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from codi import files
from codi.backbones.codi_v1.branch import Branch, branch
from codi.backbones.codi_v1.convert import fresh_folder
from codi.backbones.codi_v1.modalities import modalities
from codi.backbones.codi_v1.modes import PARTNER
from codi.backbones.codi_v1.pipeline import CoDiV1Pipeline
from codi.backbones.codi_v1.scheduler import TRAINED_STEPS, scheduler
from codi.bundles import find_bundle
from codi.manifest import write_manifest
from codi.media import Video
from codi.pipeline import CoDiPipeline
from codi.training.loop import FitConfig, Losses, fit
from codi.types import ClipSpec, InputError

Latents = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Examples:
    """What is trained on, encoded once.

    Attributes:
        latents: by modality, [examples, ...] clean.
        prompts: [examples, 1, channels] tokens of their captions.
        null: [1, 1, channels] the token of the empty text.
    """

    latents: Latents
    prompts: torch.Tensor
    null: torch.Tensor

    def draw(self, rng: np.random.Generator, batch: int) -> tuple[Latents, torch.Tensor]:
        """A batch; of half of it the caption is not told, so that partners have something to tell."""
        rows = torch.from_numpy(rng.integers(len(self.prompts), size=batch))
        told = torch.from_numpy(rng.random(batch) < 0.5)[:, None, None]
        prompts = torch.where(told.to(self.prompts.device), self.prompts[rows], self.null)
        return {name: latents[rows] for name, latents in self.latents.items()}, prompts


def retrain(
    model: str,
    data: Path,
    target: Path,
    outputs: Sequence[str],
    config: FitConfig,
    size: int | None = None,
) -> Path:
    """Train the bridges between `outputs` and write a bundle that has them; all else in it is the old bundle's.

    Args:
        model: a codi-v1 bundle in partner mode.
        data: a folder of clips, with sound where audio is among the outputs, each with its caption in a .txt of the
            same name. `codi world preview` writes such a folder.
        target: the new bundle's folder, which must not exist.
        outputs: at least two modalities.
        config: steps, batch, learning rate and the rest of the training loop.
        size: pixels of a side; the bundle's own where None.

    Raises:
        InputError: another bundle, too few outputs, or data that cannot be used.
    """
    folder = find_bundle(model)
    if len(set(outputs)) < 2:
        raise InputError("--outputs", "names fewer than two modalities", "a bridge stands between two: video audio")
    if target.exists():
        raise InputError(str(target), "exists already", "name a new folder")
    clips = read_clips(data)
    pipe = CoDiPipeline.from_pretrained(folder, inputs=["text"], given=outputs, outputs=outputs)
    if not isinstance(pipe, CoDiV1Pipeline) or pipe.mode != PARTNER:
        raise InputError(str(folder), "is no codi-v1 bundle in partner mode", "convert with --mode partner")
    examples = encode(pipe, clips, outputs, pipe.clip(outputs, None, None, size))
    trained = coupling(pipe, outputs)
    sides = {name: branch(name, pipe.components) for name in outputs}
    grid = scheduler()
    fit(
        f"bridge_{target.name}",
        trained,
        lambda rng, batch: joint_loss(sides, examples, grid, rng, batch),
        config,
        lambda: {"loss": held(sides, examples, grid, config.batch)},
    )
    write(folder, target, trained)
    return target


def read_clips(folder: Path) -> list[tuple[Video, str]]:
    """Clips and their captions.

    Raises:
        InputError: no clip, or one without a caption.
    """
    reader = files.formats()
    paths = [path for path in sorted(folder.glob("*")) if path.suffix.lower() in reader["video"].SUFFIXES]
    if not paths:
        raise InputError(str(folder), "holds no clips", "give a folder of clips with a .txt caption beside each")
    return [(reader["video"].read(path), reader["text"].read(path.with_suffix(".txt"))) for path in paths]


@torch.no_grad()
def encode(
    pipe: CoDiV1Pipeline, clips: Sequence[tuple[Video, str]], outputs: Sequence[str], clip: ClipSpec
) -> Examples:
    """Latents of every output, and the captions' tokens."""
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in outputs}
    for video, caption in clips:
        media = {"video": video, "image": video.frames[len(video.frames) // 2], "audio": video.audio, "text": caption}
        for name in outputs:
            if media[name] is None:
                raise InputError("--data", f"holds a clip without {name}", "give clips with sound")
            rows[name].append(pipe.engine(name).encode(media[name], clip))
    words = pipe.engine("text")
    prompts = words.prompt([caption for _, caption in clips])
    return Examples({name: torch.cat(made) for name, made in rows.items()}, prompts, words.prompt([""]))


def coupling(pipe: CoDiV1Pipeline, outputs: Sequence[str]) -> nn.ModuleDict:
    """The environment encoders and readers of the outputs, set to train; all else stays frozen."""
    names = dict.fromkeys(part for name in outputs for part in modalities()[name].joins)
    trained = nn.ModuleDict({name: pipe.components[name] for name in names})
    return trained.requires_grad_(True)


def draw_times(names: Sequence[str], batch: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Timesteps by modality: 50 % the same, 30 % independent, 20 % one side clean."""
    kind = rng.random()
    shared = torch.from_numpy(rng.integers(1, TRAINED_STEPS, size=batch))
    times = {name: shared if kind < 0.5 else torch.from_numpy(rng.integers(1, TRAINED_STEPS, batch)) for name in names}
    if kind > 0.8:
        times[str(rng.choice(list(names)))] = torch.zeros(batch, dtype=torch.long)
    return times


def joint_loss(
    sides: Mapping[str, Branch], examples: Examples, grid: Any, rng: np.random.Generator, batch: int
) -> Losses:
    """Mean squared error of the noise of each output that is not clean, each reading all the others."""
    clean, prompts = examples.draw(rng, batch)
    times = {name: time.to(prompts.device) for name, time in draw_times(list(sides), batch, rng).items()}
    noise = {name: torch.randn_like(latent) for name, latent in clean.items()}
    noisy = {
        name: latent if not times[name].any() else grid.add_noise(latent, noise[name], times[name])
        for name, latent in clean.items()
    }
    shown = {name: side.show(noisy[name], times[name]) for name, side in sides.items()}
    errors = {}
    for name, side in sides.items():
        if times[name].any():
            others = torch.cat([token for other, token in shown.items() if other != name], dim=1)
            errors[name] = (side.predict(noisy[name], times[name], prompts, others) - noise[name]).square().mean()
    return {"loss": torch.stack(list(errors.values())).sum()}


@torch.no_grad()
def held(sides: Mapping[str, Branch], examples: Examples, grid: Any, batch: int) -> float:
    """The mean loss over fixed noise."""
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    return float(np.mean([float(joint_loss(sides, examples, grid, rng, batch)["loss"]) for _ in range(8)]))


def write(source: Path, target: Path, trained: nn.ModuleDict) -> None:
    """The old bundle with the trained parts in place; the files of its bases are linked where the disk allows it."""
    with fresh_folder(target) as stage:
        for path in sorted(source.rglob("*")):
            place = path.relative_to(source)
            if path.is_file() and place.parts[0] not in trained and place.name != "manifest.json":
                (stage / place).parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(path, stage / place)
        for name, module in trained.items():
            stored = json.loads((source / name / "config.json").read_text("utf-8"))
            assert stored["_class_name"] == type(module).__name__
            module.eval().requires_grad_(False).save_pretrained(stage / name)  # type: ignore[operator]
        write_manifest(stage)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
