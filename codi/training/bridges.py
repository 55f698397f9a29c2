"""Stage `bridges`: environment encoders and readers between frozen denoisers.

Some steps are on noised latents of scenes, the others on states of the samplers' own runs (codi/training/practice.py).

Of scenes, each step takes a random set of modalities and pairs of levels: mostly the same, sometimes independent,
sometimes one side clean. Independent levels are what makes an output able to follow a given.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from omegaconf import DictConfig
from safetensors.torch import load_file
from torch import nn

from codi.backbones.codi_mini import SHIFTS, coupling, schedulers
from codi.defaults import CODI_MINI
from codi.modalities.text.denoiser import TextTransformer
from codi.modality import Engine, registry
from codi.networks.clip_transformer import ClipTransformer
from codi.training import latents
from codi.training.critic import CRITICS, EVENTFUL, ClipAndFrames, Critic, load_critic, mean_error
from codi.training.joint import Latents, joint_pass, predicted
from codi.training.levels import draw_levels, known, shifted
from codi.training.loop import FitConfig, Losses, fit, runs_folder
from codi.training.practice import Leaders, Run, Runs, Standing, rehearse
from codi.training.telling import ToldFacts, shown_facts, told_facts
from codi.training.text_autoencoder import full_caption_latents
from codi.types import ClipSpec

CLIP = ClipSpec()


BASES: dict[str, tuple[str, type[Any]]] = {
    "image_denoiser": ("denoiser_image/final", UNet2DConditionModel),
    "audio_denoiser": ("denoiser_audio/final", UNet2DConditionModel),
    "video_denoiser": ("denoiser_video/final", ClipTransformer),
    "text_denoiser": ("denoiser_text/final", TextTransformer),
}
"""By component, the denoisers' folders below the runs folder and their classes."""


def frozen_bases(folder: Path | None = None) -> dict[str, Any]:
    """The finished denoisers of the runs folder, frozen."""
    runs = folder or runs_folder()
    bases = {name: kind.from_pretrained(runs / place) for name, (place, kind) in BASES.items()}
    return {name: base.eval().requires_grad_(False) for name, base in bases.items()}


def begin(modules: nn.ModuleDict, bundle: Path, fresh: Collection[str] = ()) -> None:
    """Load a bundle's bridges, but those that begin afresh; `modules` is changed.

    Parts that a bundle from before does not have stay as they are: they begin at zero and change nothing.
    """
    for name, module in modules.items():
        if name in fresh:
            continue
        (file,) = (bundle / name).glob("*.safetensors")
        loaded = {key: value.float() for key, value in load_file(file).items()}
        unknown = module.load_state_dict(loaded, strict=False).unexpected_keys
        if unknown:
            raise ValueError(f"{file}: unknown weights {unknown}")


class Clips:
    """Scenes as clean latents of every modality."""

    def __init__(self) -> None:
        self.video, self.audio = latents.load("video"), latents.load("audio")
        self.count = min(len(self.video), len(self.audio))
        self.facts, self.events = latents.facts_table(self.count), latents.event_frames(self.count)
        self.text, facts = full_caption_latents()
        self.captions: dict[tuple[int, ...], list[int]] = {}
        for row, named in enumerate(facts.tolist()):
            self.captions.setdefault(tuple(named), []).append(row)
        self.clips = np.array([k for k, f in enumerate(self.facts.tolist()) if tuple(f) in self.captions])

    def draw(self, engines: Mapping[str, Engine], rng: np.random.Generator, batch: int) -> tuple[Latents, np.ndarray]:
        """A batch in every modality, with its rows; the picture is a frame, at its instant or at none."""
        rows = rng.choice(self.clips, batch)
        frame = int(rng.integers(CLIP.frames))
        at = frame / CLIP.fps if rng.random() < 0.5 else None
        video = torch.from_numpy(self.video[rows]).float()
        words = [int(rng.choice(self.captions[tuple(facts)])) for facts in self.facts[rows].tolist()]
        clean = {
            "video": video.transpose(1, 2),
            "image": video[:, frame],
            "audio": torch.from_numpy(self.audio[rows]).float(),
            "text": self.text[words],
        }
        clocks = {name: engine.clock(CLIP, at) for name, engine in engines.items()}
        return {name: (clean[name], clocks[name]) for name in engines}, rows


def draw_pair_levels(
    names: list[str],
    batch: int,
    shift: float,
    rng: np.random.Generator,
    clean: float = 0.2,
    given: str | None = None,
    same: float | None = None,
    samplers: Mapping[str, float] | None = None,
) -> dict[str, torch.Tensor]:
    """Levels by modality: a share with one side `clean`, a share where all have the `same`, the rest independent.

    Args:
        given: the side that is clean; any of them where it is None.
        same: where it is None, five in eight of what is not clean.
        samplers: shifts of the modalities' samplers: then not the same level, but that of the same step.
    """
    kind, shared, even = rng.random(), draw_levels(batch, shift, 0.1), torch.rand(batch)
    if kind < ((1 - clean) * 5 / 8 if same is None else same):
        return {name: shifted(even, samplers[name]) if samplers else shared for name in names}
    levels = {name: draw_levels(batch, shift, 0.1) for name in names}
    if kind > 1 - clean:
        levels[given or str(rng.choice(names))] = torch.zeros(batch)
    return levels


class Objective:
    """What bridges are trained for: less error beside partners, tokens that tell, and critics who find nothing wrong.

    Args:
        engines: all modalities, their bases frozen.
        settings: the stage's configuration.
    """

    def __init__(self, engines: Mapping[str, Engine], settings: DictConfig) -> None:
        self.engines, self.settings = engines, settings
        self.clips, self.prompts, self.told = Clips(), latents.Prompts(), ToldFacts()
        asked = settings.critic or settings.critic_events or settings.practice
        self.critics = {name: load_critic(name) for name in CRITICS} if asked else {}
        if self.critics:
            self.critics["video"] = ClipAndFrames(self.critics["video"], self.critics["image"])
        names, odds = zip(*((names.split("+"), share) for names, share in settings.sets.items()), strict=True)
        self.sets, self.odds = names, np.array(odds) / sum(odds)
        self.schedulers = schedulers()
        self.runs, self.leaders, self.taken = Runs(self._rehearsed, **settings.runs), Leaders(), 0

    def loss(self, rng: np.random.Generator, batch: int) -> Losses:
        """Of a batch: states of runs, or noised latents of scenes; in all processes of a training alike."""
        self.taken += 1
        share = float(self.settings.practice)
        if math.floor(self.taken * share) > math.floor((self.taken - 1) * share):
            return self._of_run(self.runs.draw(rng), rng)
        return self._of_scenes(rng, batch)

    def _of_scenes(self, rng: np.random.Generator, batch: int) -> Losses:
        s, engines = self.settings, self._drawn(rng)
        clean, rows = self.clips.draw(engines, rng, batch)
        facts, events = self.clips.facts[rows], self.clips.events[rows]
        prompt, named = self.prompts.draw(facts, rng)
        samplers = SHIFTS if s.same_step else None
        levels = draw_pair_levels(list(engines), batch, s.shift, rng, s.clean, s.given, samplers=samplers)
        joint = joint_pass(engines, clean, prompt, levels)
        read = {name: self.told(name, tokens.states) for name, tokens in joint.seen.shown.items()}
        wanted = torch.where(named < 0, told_facts(read, facts), named)
        wrong, late = judged(joint.seen.estimates, self.critics, wanted, events, certainty(levels, s.known_events))
        error = torch.stack(list(joint.errors.values())).sum()
        missed = [known(levels[m], float(s.known)) * mean_error(row, facts) for m, row in read.items()]
        untold = torch.stack(missed).mean()
        total = error + s.critic * wrong + s.critic_events * late + s.told * untold
        return {"loss": total, "error": error, "wrong": wrong, "late": late, "untold": untold}

    def _of_run(self, run: Run, rng: np.random.Generator) -> Losses:
        s, (noisy, levels) = self.settings, run.moments(rng)
        seen = predicted(self.engines, noisy, run.prompt, levels)
        read = {name: self.told(name, tokens.states) for name, tokens in seen.shown.items()}
        wanted = self.leaders.wanted(read, run.became, run.named)
        when = certainty(levels, s.known_events)
        events = torch.zeros(len(run.named), CLIP.frames) if run.events is None else run.events
        wrong, late = judged(seen.estimates, self.critics, wanted, events, when)
        untold = torch.stack([mean_error(row, run.became[name]) for name, row in read.items()]).mean()
        total = s.practice_critic * wrong + s.critic_events * late + s.told * untold
        figures = {"run wrong": wrong, "run late": late, "run untold": untold}
        return {"loss": total} | figures | run.figures()

    def _rehearsed(self, rng: np.random.Generator) -> Run:
        engines, batch = self._drawn(rng), int(self.settings.fit.batch)
        clean, rows = self.clips.draw(engines, rng, batch)
        prompt, named = self.prompts.draw(self.clips.facts[rows], rng)
        samplers = {name: self.schedulers[f"{name}_scheduler"] for name in engines}
        standing = self._standing(clean, rows, rng) if rng.random() < self.settings.practice_given else None
        seed = int(rng.integers(2**31))
        return rehearse(engines, samplers, prompt, named, self.critics, CODI_MINI, seed, standing)

    def _standing(self, clean: Latents, rows: np.ndarray, rng: np.random.Generator) -> Standing:
        """One modality of a batch of scenes, to be given."""
        asked = self.settings.given
        name = asked if asked in clean else str(rng.choice(list(clean)))
        events = self.clips.events[rows] if name in EVENTFUL else None
        return Standing(name, *clean[name], shown_facts(name, self.clips.facts[rows]), events)

    def _drawn(self, rng: np.random.Generator) -> dict[str, Engine]:
        return {name: self.engines[name] for name in self.sets[rng.choice(len(self.sets), p=self.odds)]}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """See `validation`."""
        return validation(self.engines, self.clips, self.prompts)


def train(settings: DictConfig) -> None:
    """Run the stage."""
    torch.manual_seed(0)
    bases = frozen_bases()
    modules = nn.ModuleDict(coupling(*(bases[f"{name}_denoiser"] for name in ("image", "audio", "text", "video"))))
    if settings.start:
        begin(modules, Path(settings.start), tuple(settings.fresh))
    for name, module in modules.items():
        module.requires_grad_(not settings.only or name in settings.only)
    parts: dict[str, Any] = {**bases, **modules}
    # Each engine gets what bears its name: the video's transformer learns without the image UNet that draws for it.
    own = {name: {key: part for key, part in parts.items() if key.startswith(f"{name}_")} for name in registry()}
    engines = {name: modality.engine()(own[name]) for name, modality in registry().items()}
    objective = Objective(engines, settings)
    learning = nn.ModuleDict({**modules, "told": objective.told})
    folder = fit("bridges", learning, objective.loss, FitConfig(**settings.fit), objective.validate)
    for name, module in modules.items():
        module.save_pretrained(folder / "final" / name)  # type: ignore[operator]


def judged(
    estimates: Mapping[str, torch.Tensor],
    critics: Mapping[str, Critic],
    seen: torch.Tensor,
    events: torch.Tensor,
    when: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """[] and [] what critics find wrong with estimates: facts, and when something happens.

    Args:
        seen: [batch, factors] what the estimates must show, -1 where nothing is asked.
        events: [batch, frames] 1 in the frames of events.
        when: [batch] how far these are known.
    """
    wrong, late = [torch.zeros(())], [torch.zeros(())]
    for name in critics.keys() & estimates.keys():
        read = critics[name](estimates[name])
        wrong.append(critics[name].missed(read, seen, None).mean())
        late.append((when * critics[name].missed(read, torch.full_like(seen, -1), events)).mean())
    return torch.stack(wrong).sum(), torch.stack(late).sum()


def certainty(levels: Mapping[str, torch.Tensor], highest: float) -> torch.Tensor:
    """[batch] how far any of them can know when something happens: as far as the least noisy shows it."""
    shown = [level for name, level in levels.items() if name in EVENTFUL]
    return known(torch.stack(shown).amin(0), highest) if shown else torch.zeros(len(next(iter(levels.values()))))


def validation(engines: Mapping[str, Engine], clips: Clips, prompts: latents.Prompts) -> dict[str, float]:
    """Error of video and audio with the bridge on, relative to off: at shared levels, and beside a clean partner."""
    figures: dict[str, float] = {}
    pair = {name: engines[name] for name in ("video", "audio")}
    for label, levels in {
        "0.9": (0.9, 0.9),
        "0.95": (0.95, 0.95),
        "dub audio 0.95": (0.0, 0.95),
        "dub video 0.95": (0.95, 0.0),
    }.items():
        rows: dict[str, list[float]] = {}
        for bridged in (True, False):
            rng = np.random.default_rng(2)
            torch.manual_seed(2)
            clean, picked = clips.draw(pair, rng, 16)
            prompt, _ = prompts.draw(clips.facts[picked], rng)
            at = {name: torch.full((16,), level) for name, level in zip(pair, levels, strict=True)}
            for name, error in joint_pass(pair, clean, prompt, at, bridged).errors.items():
                rows.setdefault(name, []).append(float(error))
        figures |= {f"{name} {label}": on / off for name, (on, off) in rows.items()}
    return figures
