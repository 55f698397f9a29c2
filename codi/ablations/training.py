"""Trains arms between codi-mini's frozen denoisers: stages of the runs folder under `ablations`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from codi.ablations.arms import EXPERTS, Arm, Joined, build
from codi.ablations.components import GRIDS, Discriminator
from codi.ablations.experts import KINDS
from codi.modality import Engine, registry
from codi.port import Port
from codi.training import latents
from codi.training.bridges import CLIP, draw_pair_levels
from codi.training.joint import Latents, joint_pass
from codi.training.levels import noised
from codi.training.loop import FitConfig, Losses, fit, runs_folder
from codi.types import InputError, Tokens

SHIFT: Final = 6.0
ALONE: Final = 0.2
"""Share of a unified model's batches with noise for a partner."""
TRAINED: Final = (
    "join",
    "shows",
    "pooled",
    "sound",
    "whole",
    "own",
    "experts",
    "clean",
    "same",
    "steps",
    "batch",
    "lr",
)
"""Of an arm, what its weights depend on."""


class Scenes:
    """Clean latents of both modalities, and the facts of training scenes."""

    def __init__(self) -> None:
        self.stores = {name: latents.load(name) for name in GRIDS}
        self.count = min(len(store) for store in self.stores.values())
        self.facts = latents.facts_table(self.count)

    def latents(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """By modality, as its denoiser takes them."""
        return {n: GRIDS[n].stored(torch.from_numpy(store[rows]).float()) for n, store in self.stores.items()}

    def strangers(self, named: torch.Tensor) -> np.ndarray:
        """Other scenes that show what prompts name, [batch, factors], -1 for nothing."""
        fits = ((self.facts[None] == named[:, None]) | (named[:, None] < 0)).all(-1).float()
        return torch.multinomial(fits, 1)[:, 0].numpy()


def engines_of(bases: Mapping[str, Any], made: Joined) -> dict[str, Engine]:
    """The engines of an arm."""
    parts = {**bases, **dict(made.modules.items())}
    own = {name: {key: part for key, part in parts.items() if key.startswith(f"{name}_")} for name in GRIDS}
    engines = {name: registry()[name].engine()(own[name]) for name in GRIDS}
    made.wrap(engines)
    return engines


def trained(arm: Arm, name: str, seed: int, bases: Mapping[str, Any], scenes: Callable[[], Scenes]) -> dict[str, Any]:
    """The weights of an arm; trained if it has not been.

    Raises:
        InputError: what stands there was trained as something else.
    """
    torch.manual_seed(seed)
    made, folder = build(arm, bases), runs_folder() / "ablations" / f"{name}_{seed}"
    if not arm.steps:
        return dict(made.modules.state_dict())
    _check(folder, _trained_as(arm))
    path = folder / "final.safetensors"
    if not path.exists():
        rates = dict.fromkeys(EXPERTS, arm.whole)
        config = FitConfig(arm.steps, arm.batch, lr=arm.lr, rates=rates, warmup=40, ema=0.99, seed=seed, bf16=True)
        loss = LOSSES.get(arm.join, beside)(arm, made.modules, engines_of(bases, made), scenes())
        fit(f"ablations/{name}_{seed}", made.modules, loss, config)
        save_file({key: value.contiguous() for key, value in made.modules.state_dict().items()}, path)
    return dict(load_file(path))


def _check(folder: Path, asked: Mapping[str, Any]) -> None:
    stamp = folder / "asked.json"
    before = json.loads(stamp.read_text()) if stamp.exists() else {}
    # What has been named since stood at its default then.
    if before and {**_trained_as(Arm("")), **before} != asked:
        raise InputError(str(folder), f"was trained with {before}", "move it and its samples away")
    folder.mkdir(parents=True, exist_ok=True)
    stamp.write_text(json.dumps(asked, sort_keys=True))


def _trained_as(arm: Arm) -> dict[str, Any]:
    return {key: getattr(arm, key) for key in TRAINED}


def draw_pair(rng: np.random.Generator, batch: int, arm: Arm) -> dict[str, torch.Tensor]:
    """Levels of both sides."""
    levels = draw_pair_levels(list(GRIDS), batch, SHIFT, rng, arm.clean, same=arm.same)
    return levels | {"audio": KINDS[arm.sound].counted(levels["audio"])}


def beside(
    arm: Arm, modules: nn.ModuleDict, engines: Mapping[str, Engine], scenes: Scenes
) -> Callable[[np.random.Generator, int], Losses]:
    """The loss of readers: each side's own error."""
    prompts, guidance, corruptions = latents.Prompts(), arm.guidance(), {"audio": KINDS[arm.sound].corrupt}
    clocks = {name: engine.clock(CLIP) for name, engine in engines.items()}

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        rows = rng.integers(0, scenes.count, batch)
        clean: Latents = {name: (z, clocks[name]) for name, z in scenes.latents(rows).items()}
        prompt, _ = prompts.draw(scenes.facts[rows], rng)
        joint = joint_pass(engines, clean, prompt, draw_pair(rng, batch, arm), True, guidance, corruptions)
        return {"loss": torch.stack(list(joint.errors.values())).sum()}

    return loss


def discriminating(
    arm: Arm, modules: nn.ModuleDict, engines: Mapping[str, Engine], scenes: Scenes
) -> Callable[[np.random.Generator, int], Losses]:
    """The loss of a discriminator (MMDisCo, equations 8 and 10): tell pairs from strangers, and predict as a denoiser.

    Strangers are sounds of scenes that the same prompt could mean: what it names is no evidence.
    """
    prompts, judge = latents.Prompts(), modules["discriminator"]
    assert isinstance(judge, Discriminator)

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        rows = rng.integers(0, scenes.count, batch)
        prompt, named = prompts.draw(scenes.facts[rows], rng)
        levels, clean = draw_pair(rng, batch, arm), scenes.latents(rows)
        noisy = {name: noised(z, levels[name]) for name, z in clean.items()}
        shown = {name: _bare(engines[name], z, levels[name]) for name, (z, _) in noisy.items()}
        other = noised(scenes.latents(scenes.strangers(named))["audio"], levels["audio"])[0]
        strange = shown | {"audio": _bare(engines["audio"], other, levels["audio"])}
        told = functional.softplus(-judge(shown)).mean() + functional.softplus(judge(strange)).mean()
        error = torch.zeros(())
        for name, (latent, target) in noisy.items():
            denoiser: Any = engines[name].denoiser
            (partner,) = (n for n in GRIDS if n != name)
            with torch.no_grad():
                base = denoiser(latent, levels[name], prompt, engines[name].clock(CLIP)).sample
            moved = base + denoiser.nudge(latent, levels[name], Tokens(shown[partner]))
            error = error + (moved - target).square().mean()
        return {"loss": told + error, "told": told, "error": error}

    return loss


def uniting(
    arm: Arm, modules: nn.ModuleDict, engines: Mapping[str, Engine], scenes: Scenes
) -> Callable[[np.random.Generator, int], Losses]:
    """The loss of a unified model (UniDiffuser, equation 5): both errors of one pass; in a share, one side is noise.

    That share teaches each modality alone.
    """
    prompts, net = latents.Prompts(), modules["unified"]
    port = Port(net, None)
    clocks = {name: engine.clock(CLIP) for name, engine in engines.items()}

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        rows = rng.integers(0, scenes.count, batch)
        prompt, _ = prompts.draw(scenes.facts[rows], rng)
        levels = draw_pair(rng, batch, arm)
        if rng.random() < ALONE:
            levels[str(rng.choice(list(GRIDS)))] = torch.ones(batch)
        drawn = {name: noised(z, levels[name]) for name, z in scenes.latents(rows).items()}
        with port.reading(prompt, None, lambda n: torch.empty(0)):
            said = net({name: noisy for name, (noisy, _) in drawn.items()}, levels, prompt.states, clocks)
        errors = [(said[name][0] - target).square().mean() for name, (_, target) in drawn.items() if levels[name].any()]
        return {"loss": torch.stack(errors).sum()}

    return loss


def _bare(engine: Engine, latent: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    assert engine.environment is not None
    return engine.environment(latent, level)


LOSSES: Final[dict[str, Any]] = {"discriminator": discriminating, "unified": uniting}
