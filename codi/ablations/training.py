"""Trains experts, then what joins them, then nothing twice: stages of the runs folder under `ablations`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from codi.ablations.arms import Arm, Joined, build, guidance_of
from codi.ablations.experts import MEDIA, ExpertDenoiser, ExpertEngine
from codi.ablations.joins import Discriminator
from codi.ablations.processes import PROCESSES
from codi.bridge import gather
from codi.guidance import Guidance
from codi.networks.clip_transformer import ClipTransformer
from codi.training import latents
from codi.training.critic import Critic, load_critic
from codi.training.denoisers import known
from codi.training.loop import FitConfig, Losses, fit, runs_folder
from codi.types import ClipSpec, InputError, Tokens

BATCH: Final = 32
EXPERT_STEPS: Final = {"video": 2200, "audio": 1400}
TRAINED: Final = ("join", "shows", "pooled", "own", "clock", "levels", "processes")
"""Of an arm, what its weights depend on."""
JUDGED: Final = 0.3
"""Weight of what critics miss; experts and the unified model learn with them, what joins experts without."""

Draw = Callable[[np.random.Generator, int], tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]]


class Scenes:
    """Clean latents of both modalities, facts and events of training scenes."""

    def __init__(self) -> None:
        self.stores = {name: latents.load(name) for name in MEDIA}
        self.count = min(len(store) for store in self.stores.values())
        self.facts, self.events = latents.facts_table(self.count), latents.event_frames(self.count)

    def draw(self, rng: np.random.Generator, batch: int) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        """A batch."""
        rows = rng.integers(0, self.count, batch)
        clean = {name: torch.from_numpy(store[rows]).float() for name, store in self.stores.items()}
        clean["video"] = clean["video"].transpose(1, 2)
        return {name: MEDIA[name].fold(z) for name, z in clean.items()}, self.facts[rows], self.events[rows]

    def strangers(self, named: torch.Tensor, name: str) -> torch.Tensor:
        """Of a modality, latents of other scenes that show what prompts name, [batch, factors], -1 for nothing."""
        fits = ((self.facts[None] == named[:, None]) | (named[:, None] < 0)).all(-1).float()
        rows = torch.multinomial(fits, 1)[:, 0].numpy()
        return MEDIA[name].fold(torch.from_numpy(self.stores[name][rows]).float())


def expert(name: str, process: str, scenes: Callable[[], Scenes]) -> ClipTransformer:
    """The expert of a modality, frozen; trained if it has not been."""
    torch.manual_seed(0)
    model = MEDIA[name].network()
    engine = ExpertEngine(MEDIA[name], PROCESSES[process], ExpertDenoiser(MEDIA[name], model))
    _once(f"ablations/expert_{name}_{process}", model, EXPERT_STEPS[name], lambda: alone(engine, name, scenes()), 1e-3)
    return model.eval().requires_grad_(False)


def alone(engine: ExpertEngine, name: str, scenes: Scenes) -> Callable[[np.random.Generator, int], Losses]:
    """The loss of an expert."""
    prompts, critic = latents.Prompts(), load_critic(name)

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        clean, facts, events = scenes.draw(rng, batch)
        prompt, named = prompts.draw(facts, rng)
        share = torch.rand(batch)
        error, estimate = velocities({name: engine}, clean, prompt, {name: share}, None)[name]
        wrong = _missed(critic, name, estimate, (facts, events, named), engine.process.level(share))
        return {"loss": error + JUDGED * wrong, "error": error, "wrong": wrong}

    return loss


def _missed(
    critic: Critic,
    name: str,
    estimate: torch.Tensor,
    truth: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    level: torch.Tensor,
) -> torch.Tensor:
    """What a critic misses: what the latent shows, and near the noise what the prompt names."""
    facts, events, named = truth
    read, sure = critic(MEDIA[name].unfold(estimate)), known(level, 0.94)
    asked = (known(level, 0.985) - sure).clamp_min(0)
    return (sure * critic.missed(read, facts, events) + asked * critic.missed(read, named, None)).mean()


def joined(arm: Arm, name: str, seed: int, experts: Mapping[str, Any], scenes: Callable[[], Scenes]) -> Joined:
    """The arm with its weights; trained if it has not been."""
    torch.manual_seed(seed)
    made = build(arm, experts)
    losses = {"discriminator": discriminating, "unified": whole}
    kind, told = losses.get(arm.join, beside), {key: getattr(arm, key) for key in TRAINED}
    _once(f"ablations/{name}_{seed}", made.modules, arm.steps, lambda: kind(arm, made, scenes()), 1.2e-3, seed, told)
    made.modules.eval().requires_grad_(False)
    return made


def _once(
    stage: str,
    model: nn.Module,
    steps: int,
    loss: Callable[[], Callable[[np.random.Generator, int], Losses]],
    lr: float,
    seed: int = 0,
    told: Mapping[str, Any] | None = None,
) -> None:
    """Load what was trained before, or train it and keep it.

    Raises:
        InputError: it was trained as something else.
    """
    path = runs_folder() / stage / "final.safetensors"
    asked, stamp = json.dumps({"steps": steps, **(told or {})}, sort_keys=True), path.with_name("asked.json")
    if steps and stamp.exists() and stamp.read_text() != asked:
        raise InputError(str(path.parent), f"was trained with {stamp.read_text()}", "move it and its samples away")
    if steps:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(asked)
    if steps and not path.exists():
        config = FitConfig(steps=steps, batch=BATCH, lr=lr, warmup=min(60, steps), ema=0.995, seed=seed, bf16=True)
        fit(stage, model, loss(), config)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    if steps:
        model.load_state_dict(load_file(path))


def draw_shares(rng: np.random.Generator, batch: int, levels: str) -> dict[str, torch.Tensor]:
    """Shares of the grid by modality."""
    kind, same = rng.random() if levels == "mixed" else 0.0, torch.rand(batch)
    if kind < 0.5:
        return dict.fromkeys(MEDIA, same)
    shares = {name: torch.rand(batch) for name in MEDIA}
    if kind > 0.8:
        shares[str(rng.choice(list(MEDIA)))] = torch.zeros(batch)
    return shares


def velocities(
    engines: Mapping[str, ExpertEngine],
    clean: Mapping[str, torch.Tensor],
    prompt: Tokens,
    shares: Mapping[str, torch.Tensor],
    guidance: Guidance | None,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Of each modality that is not clean, the prediction's mean square error and the estimate of its clean latent.

    Args:
        guidance: says who reads whom; None for nobody.
    """
    clip = ClipSpec()
    clocks = {name: engine.clock(clip) for name, engine in engines.items()}
    levels = {name: engine.process.level(shares[name]) for name, engine in engines.items()}
    noisy = {name: engine.process.noised(clean[name], levels[name]) for name, engine in engines.items()}
    shown = {} if guidance is None else show(engines, noisy, prompt, levels, clocks)
    found = {}
    for name, engine in engines.items():
        if (shares[name] > 0).any():
            partners = None if guidance is None else gather(guidance.seen(name, shown))
            latent, target = noisy[name]
            predicted = engine.denoiser(latent, levels[name], prompt, clocks[name], partners).sample
            error = _error(engine, predicted, target, levels[name])
            found[name] = error, engine.process.estimate(latent, levels[name], predicted)
    return found


def _error(engine: ExpertEngine, predicted: torch.Tensor, target: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    return ((predicted - target).square().flatten(1).mean(1) * engine.process.weight(level)).mean()


def show(
    engines: Mapping[str, ExpertEngine],
    noisy: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    prompt: Tokens,
    levels: Mapping[str, torch.Tensor],
    clocks: Mapping[str, torch.Tensor],
) -> dict[str, Tokens | None]:
    """What each modality shows; a clean one has the null prompt."""
    shown: dict[str, Tokens | None] = {}
    for name, engine in engines.items():
        seen = noisy[name][0]
        if not engine.environment.reads_latent:
            asked = prompt if (levels[name] > 0).any() else Tokens(torch.zeros_like(prompt.states))
            with torch.no_grad():
                seen = engine.denoiser(seen, levels[name], asked, clocks[name]).features
        shown[name] = Tokens(engine.environment(seen, levels[name]), engine.token_times(clocks[name]))
    return shown


def beside(arm: Arm, made: Joined, scenes: Scenes) -> Callable[[np.random.Generator, int], Losses]:
    """The loss of readers between frozen experts: each one's own error."""
    prompts, guidance = latents.Prompts(), guidance_of(arm)

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        clean, facts, _ = scenes.draw(rng, batch)
        prompt, _ = prompts.draw(facts, rng)
        found = velocities(made.engines, clean, prompt, draw_shares(rng, batch, arm.levels), guidance)
        return {"loss": torch.stack([error for error, _ in found.values()]).sum()}

    return loss


def whole(arm: Arm, made: Joined, scenes: Scenes) -> Callable[[np.random.Generator, int], Losses]:
    """The loss of a unified model: as the experts', each beside its partner or, half of the time, alone."""
    prompts, critics = latents.Prompts(), {name: load_critic(name) for name in MEDIA}
    denoiser, clocks = made.engines["video"].denoiser, {n: e.clock(ClipSpec()) for n, e in made.engines.items()}

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        clean, facts, events = scenes.draw(rng, batch)
        prompt, named = prompts.draw(facts, rng)
        shares = draw_shares(rng, batch, arm.levels)
        levels = {name: engine.process.level(shares[name]) for name, engine in made.engines.items()}
        noisy = {name: engine.process.noised(clean[name], levels[name]) for name, engine in made.engines.items()}
        seen = {name: latent for name, (latent, _) in noisy.items()}
        if rng.random() < 0.5:
            made_of = denoiser.both(seen, levels, prompt, clocks)
        else:
            made_of = {n: denoiser.both({n: z}, {n: levels[n]}, prompt, {n: clocks[n]})[n] for n, z in seen.items()}
        error, wrong = torch.zeros(()), torch.zeros(())
        for name, engine in made.engines.items():
            if (shares[name] > 0).any():
                estimate = engine.process.estimate(seen[name], levels[name], made_of[name])
                error = error + _error(engine, made_of[name], noisy[name][1], levels[name])
                wrong = wrong + _missed(critics[name], name, estimate, (facts, events, named), levels[name])
        return {"loss": error + JUDGED * wrong, "error": error}

    return loss


def discriminating(arm: Arm, made: Joined, scenes: Scenes) -> Callable[[np.random.Generator, int], Losses]:
    """The loss of a discriminator (MMDisCo, equations 8 and 10): tell pairs from strangers, and predict as a denoiser.

    Strangers are clips and sounds of scenes that the same prompt could mean: what it names is no evidence.
    """
    prompts = latents.Prompts()
    judge = made.modules["discriminator"]
    assert isinstance(judge, Discriminator)

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        clean, facts, _ = scenes.draw(rng, batch)
        prompt, named = prompts.draw(facts, rng)
        shares = draw_shares(rng, batch, arm.levels)
        levels = {name: engine.process.level(shares[name]) for name, engine in made.engines.items()}
        noisy = {name: engine.process.noised(clean[name], levels[name]) for name, engine in made.engines.items()}
        shown = {name: engine.environment(noisy[name][0], levels[name]) for name, engine in made.engines.items()}
        sound, other = made.engines["audio"], scenes.strangers(named, "audio")
        strange = shown | {"audio": sound.environment(sound.process.noised(other, levels["audio"])[0], levels["audio"])}
        told = functional.softplus(-judge(shown)).mean() + functional.softplus(judge(strange)).mean()
        clocks = {name: engine.clock(ClipSpec()) for name, engine in made.engines.items()}
        error = torch.zeros(())
        for name, engine in made.engines.items():
            (partner,) = (n for n in MEDIA if n != name)
            latent, target = noisy[name]
            with torch.no_grad():
                base = engine.denoiser(latent, levels[name], prompt, clocks[name]).sample
            moved = engine.process.nudge(
                levels[name], engine.denoiser.gradient(latent, levels[name], Tokens(shown[partner]))
            )
            error = error + _error(engine, base + moved, target, levels[name])
        return {"loss": told + error, "told": told, "error": error}

    return loss
