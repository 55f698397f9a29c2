"""Practice: bridges are trained on states of the samplers' own runs too, beside noised latents of real scenes.

A sampler that adds no noise makes of each noise one result: what an output will become is in its latent long before the
latent of a real scene, noised as far, would tell. Noised scenes teach environment tokens to keep silent there, and
partners to wait, until it is too late to agree (that training never sees what sampling does is exposure bias, Ning et
al. 2024). So the joint loop of sampling runs, in 12 steps and without new noise, and critics read the end results. From
states on the way, tokens learn to tell what will come, and estimates are asked for what the modality becomes that tells
best. Only bridges learn. In a share of the runs one modality is given, of a real scene, and says what is right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final

import numpy as np
import torch

from codi import conditioning, schedule
from codi.defaults import Company, Defaults
from codi.modality import Engine
from codi.sampling import Track, denoise
from codi.training.critic import Critic
from codi.training.joint import Latents
from codi.types import ClipSpec, Tokens
from codi.worlds.sounding_shapes.factors import FACTORS

STEPS: Final = 12
Read = Mapping[str, torch.Tensor]
"""Logits by factor."""


@dataclass(frozen=True)
class Standing:
    """What stands in a run: one modality of real scenes.

    Attributes:
        name: of the modality.
        latent: [batch, ...] clean.
        clock: its.
        shows: [batch, factors] facts that it shows, else -1.
        events: [batch, frames] 1 where something happens; None where it does not show when.
    """

    name: str
    latent: torch.Tensor
    clock: torch.Tensor
    shows: torch.Tensor
    events: torch.Tensor | None


@dataclass(frozen=True)
class Run:
    """One joint run of the samplers.

    Attributes:
        prompt: of each sample.
        named: [batch, factors] facts that it names, or what stands shows, else -1.
        clocks: by modality.
        latents: by modality, [steps, batch, ...] before each step.
        levels: by modality, [steps].
        became: by modality, [batch, factors] what the critics read in the end, -1 where it shows nothing of the kind.
        events: [batch, frames] 1 where something happens in the end, of the modality that settles it first; None where
            none shows it.
    """

    prompt: Tokens
    named: torch.Tensor
    clocks: Mapping[str, torch.Tensor]
    latents: Mapping[str, torch.Tensor]
    levels: Mapping[str, torch.Tensor]
    became: Mapping[str, torch.Tensor]
    events: torch.Tensor | None

    def moments(self, rng: np.random.Generator) -> tuple[Latents, dict[str, torch.Tensor]]:
        """Latents and levels before a step of each sample's own."""
        steps = torch.from_numpy(rng.integers(STEPS, size=len(self.named)))
        rows = torch.arange(len(steps))
        noisy = {name: (latents[steps, rows], self.clocks[name]) for name, latents in self.latents.items()}
        return noisy, {name: levels[steps] for name, levels in self.levels.items()}

    def figures(self) -> dict[str, torch.Tensor]:
        """Share of open facts on which two modalities agree in the end, and of the most frequent of open colours."""
        open_, ends = self.named < 0, list(self.became.values())
        pairs = [(one == other, open_ & (one >= 0) & (other >= 0)) for one, other in combinations(ends, 2)]
        right, asked = (torch.stack(rows) for rows in zip(*pairs, strict=True))
        colour = list(FACTORS).index("colour")
        most = torch.cat([end[open_[:, colour], colour] for end in ends]).bincount(minlength=len(FACTORS["colour"]))
        return {
            "run agreement": (right & asked).sum() / asked.sum().clamp_min(1),
            "run mode": most.max() / most.sum().clamp_min(1),
        }


class Runs:
    """The last few runs; a new one after so many draws.

    They are no part of a checkpoint: a resumed training begins with new ones.

    Args:
        run: makes one.
        every: draws from one new run to the next.
        kept: runs.
    """

    def __init__(self, run: Callable[[np.random.Generator], Run], every: int, kept: int) -> None:
        self.run, self.every, self.drawn = run, every, 0
        self.kept: deque[Run] = deque(maxlen=kept)

    def draw(self, rng: np.random.Generator) -> Run:
        """One of those that are kept."""
        if self.drawn % self.every == 0:
            self.kept.append(self.run(rng))
            torch.clear_autocast_cache()  # what a run without gradients has cast, older releases would take for theirs
        self.drawn += 1
        return self.kept[int(rng.integers(len(self.kept)))]


@torch.no_grad()
def rehearse(
    engines: Mapping[str, Engine],
    schedulers: Mapping[str, Any],
    prompt: Tokens,
    named: torch.Tensor,
    critics: Mapping[str, Critic],
    defaults: Defaults,
    seed: int,
    standing: Standing | None = None,
) -> Run:
    """Run the joint loop as the pipeline does, and keep what it passes.

    Without new noise, with all passes in every step, and with nobody prompted by others: bridges are to tell by
    themselves.

    Args:
        engines: by modality, of the outputs and of what stands.
        schedulers: of each.
        prompt: of each sample.
        named: [batch, factors] facts that the prompts name, else -1.
        critics: by modality, of all outputs.
        defaults: the scales.
        seed: of the noise.
        standing: what is not made but given; None where all is made.
    """
    tracks = _tracks(engines, schedulers, prompt, seed, standing)
    outputs = {name: track for name, track in tracks.items() if track.scheduler is not None}
    passed = {name: [track.latent] for name, track in outputs.items()}

    def on_step(index: int, moved: Mapping[str, torch.Tensor]) -> None:
        for name, latent in moved.items():
            passed[name].append(latent)

    given, joined = tracks.keys() - outputs.keys(), len(outputs) > 1
    scales = {name: defaults.of(name, joined, Company(tracks.keys() - {name}, given)) for name in outputs}
    sampled = {name: replace(scale, renewal=1.0, interval=1, prompting=0.0) for name, scale in scales.items()}
    ends = denoise(tracks, sampled, STEPS, on_step)
    read = {name: critics[name](end) for name, end in ends.items()}
    levels = {name: torch.stack([track.level(k)[0] for k in range(STEPS)]) for name, track in tracks.items()}
    run = Run(
        prompt=prompt,
        named=named,
        clocks={name: track.clock for name, track in tracks.items()},
        latents={name: torch.stack(states[:STEPS]) for name, states in passed.items()},
        levels=levels,
        became={name: became(critics[name].facts(read[name])) for name in ends},
        events=first_events({name: critics[name].heat(read[name]) for name in ends}, levels),
    )
    return run if standing is None else _beside(run, standing)


def _tracks(
    engines: Mapping[str, Engine],
    schedulers: Mapping[str, Any],
    prompt: Tokens,
    seed: int,
    standing: Standing | None,
) -> dict[str, Track]:
    """Of all modalities, at the start of the loop."""
    batch = len(prompt.states)
    clip, nothing, tracks = ClipSpec(), conditioning.null(batch, prompt.states), {}
    for name, engine in engines.items():
        if standing is not None and name == standing.name:
            tracks[name] = Track(engine, standing.latent, standing.clock, nothing, nothing)
            continue
        noise = schedule.Noise(seed, name)
        scheduler = schedule.prepared(schedulers[name], STEPS, prompt.states.device)
        white = noise.white(engine.latent_shape(clip), batch)
        tracks[name] = Track(engine, white, engine.clock(clip), prompt, nothing, scheduler, noise)
    return tracks


def _beside(run: Run, standing: Standing) -> Run:
    """The run with what stood in it, by which all else is judged."""
    return replace(
        run,
        named=torch.where(run.named < 0, standing.shows, run.named),
        latents={**run.latents, standing.name: standing.latent.expand(STEPS, *standing.latent.shape)},
        became={**run.became, standing.name: standing.shows},
        events=run.events if standing.events is None else standing.events,
    )


def became(read: Read) -> torch.Tensor:
    """[batch, factors] the facts that logits say, -1 where a factor is not read; what is still has no tempo."""
    batch = len(next(iter(read.values())))
    columns = [read[name].argmax(1) if name in read else torch.full((batch,), -1) for name in FACTORS]
    return without_tempo(torch.stack(columns, 1))


class Leaders:
    """Whose end result the others are asked for: of each fact, the modality's whose tokens tell its own best.

    Better than their mean over many samples, that is: what is likely anyway is no evidence, and asking for it oftener
    than it comes makes it come oftener still, until all outputs agree because they are all the same. These means change
    with every call, and are no part of a checkpoint.

    Args:
        decay: of the running means.
    """

    def __init__(self, decay: float = 0.98) -> None:
        self.decay = decay
        self.usual: dict[tuple[str, str], torch.Tensor] = {}

    def wanted(self, read: Mapping[str, Read], ends: Mapping[str, torch.Tensor], named: torch.Tensor) -> torch.Tensor:
        """[batch, factors] what estimates may be asked for: what prompts name; else what the leader becomes, or -1.

        Each fact as often as its leader tells it better than usual.

        Args:
            read: by modality, logits by factor of what its tokens tell.
            ends: by modality, [batch, factors] what it becomes.
            named: [batch, factors] facts that prompts name, else -1.
        """
        columns = []
        for column, factor in enumerate(FACTORS):
            open_ = named[:, column] < 0
            tellers = [name for name in read if factor in read[name]]
            if len(tellers) < 2:
                columns.append(torch.full((len(named),), -1))
                continue
            sure = [self._surer(name, factor, read[name][factor], ends[name][:, column], open_) for name in tellers]
            most, leader = torch.stack(sure).max(0)
            end = torch.stack([ends[name][:, column] for name in tellers]).gather(0, leader[None])[0]
            columns.append(torch.where(torch.rand(len(end)) < most, end, -1))
        return without_tempo(torch.where(named < 0, torch.stack(columns, 1), named))

    def _surer(
        self, name: str, factor: str, logits: torch.Tensor, end: torch.Tensor, open_: torch.Tensor
    ) -> torch.Tensor:
        """[batch] from 0, the usual or less, to 1."""
        told = logits.detach().float().softmax(1)
        now = told[open_].mean(0) if open_.any() else told.mean(0)
        usual = self.usual.get((name, factor), now).lerp(now, 1 - self.decay)
        self.usual[name, factor] = usual
        right, before = told.gather(1, end.clamp_min(0)[:, None])[:, 0], usual[end.clamp_min(0)]
        return torch.where(end >= 0, (right - before) / (1 - before), 0.0).clamp_min(0)


def without_tempo(facts: torch.Tensor) -> torch.Tensor:
    """Facts [batch, factors] in which what is still has no tempo."""
    motion, tempo = list(FACTORS).index("motion"), list(FACTORS).index("tempo")
    facts = facts.clone()
    facts[facts[:, motion] == FACTORS["motion"].index("still"), tempo] = -1
    return facts


def first_events(heats: Mapping[str, torch.Tensor | None], levels: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """Events of whoever is least noisy on the way."""
    shown = {name: heat for name, heat in heats.items() if heat is not None}
    if not shown:
        return None
    first = min(shown, key=lambda name: float(levels[name].sum()))
    return (shown[first] > 0).float()
