"""Stage `bridges`: environment encoders and readers between frozen denoisers.

Each step takes a random set of modalities and pairs of levels: mostly the same, sometimes independent, sometimes one
side clean. Independent levels are what makes an output able to follow a given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from omegaconf import DictConfig
from safetensors.torch import load_file
from torch import nn

from codi.backbones.codi_mini import SHIFTS, coupling
from codi.bridge import gather
from codi.guidance import Guidance
from codi.modalities.text.autoencoder import TextAutoencoder
from codi.modalities.text.denoiser import TextTransformer
from codi.modality import Engine, registry
from codi.networks.clip_transformer import ClipTransformer
from codi.training import latents
from codi.training.critic import CRITICS, EVENTFUL, ClipAndFrames, Critic, load_critic, mean_error
from codi.training.denoisers import draw_levels, known, noised, shifted
from codi.training.loop import FitConfig, Losses, fit, runs_folder
from codi.training.telling import ToldFacts, told_facts
from codi.training.text_autoencoder import full_caption_bank
from codi.types import ClipSpec, Tokens

CLIP = ClipSpec()
OTHERS = Guidance()
Latents = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""By modality, clean latents [batch, ...] and their clock."""
Corrupt = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""(clean latents, levels [batch]) -> noisy latents, what should be predicted, and weights of its squared error."""


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

    def __init__(self, bank: Mapping[str, torch.Tensor], autoencoder: TextAutoencoder) -> None:
        self.video, self.audio = latents.load("video"), latents.load("audio")
        self.count = min(len(self.video), len(self.audio))
        self.facts, self.events = latents.facts_table(self.count), latents.event_frames(self.count)
        with torch.no_grad():
            pairs = zip(bank["hidden"].split(256), bank["mask"].split(256), strict=True)
            self.text = torch.cat([autoencoder.encode(hidden.float(), mask) for hidden, mask in pairs])
        self.captions: dict[tuple[int, ...], list[int]] = {}
        for row, facts in enumerate(bank["facts"].tolist()):
            self.captions.setdefault(tuple(facts), []).append(row)
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
    runs = runs_folder()
    clips = Clips(full_caption_bank(), TextAutoencoder.from_pretrained(runs / "autoencoder_text" / "final").eval())
    prompts, shift, samplers = latents.Prompts(), float(settings.shift), SHIFTS if settings.same_step else None
    sets, odds = zip(*((names.split("+"), share) for names, share in settings.sets.items()), strict=True)

    told = ToldFacts()
    critics = {name: load_critic(name) for name in CRITICS} if settings.critic or settings.critic_events else {}
    if critics:
        critics["video"] = ClipAndFrames(critics["video"], critics["image"])

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        names = list(sets[rng.choice(len(sets), p=np.array(odds) / sum(odds))])
        clean, rows = clips.draw({name: engines[name] for name in names}, rng, batch)
        facts, events = clips.facts[rows], clips.events[rows]
        prompt, named = prompts.draw(facts, rng)
        levels = draw_pair_levels(names, batch, shift, rng, float(settings.clean), settings.given, samplers=samplers)
        joint = joint_pass(engines, clean, prompt, levels)
        read = {name: told(name, tokens.states) for name, tokens in joint.shown.items()}
        seen = torch.where(named < 0, told_facts(read, facts), named)
        wrong, late = judged(joint.made, critics, seen, events, certainty(levels, float(settings.known_events)))
        error = torch.stack([estimate.error for estimate in joint.made.values()]).sum()
        untold = [known(levels[m], float(settings.known)) * mean_error(row, facts) for m, row in read.items()]
        kept = torch.stack(untold).mean()
        total = error + settings.critic * wrong + settings.critic_events * late + settings.told * kept
        return {"loss": total, "error": error, "wrong": wrong, "late": late, "untold": kept}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        return validation(engines, clips, prompts)

    learning = nn.ModuleDict({**modules, "told": told})
    folder = fit("bridges", learning, loss, FitConfig(**settings.fit), validate)
    for name, module in modules.items():
        module.save_pretrained(folder / "final" / name)  # type: ignore[operator]


def judged(
    made: Mapping[str, Made],
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
    for name in critics.keys() & made.keys():
        read = critics[name](made[name].estimate)
        wrong.append(critics[name].missed(read, seen, None).mean())
        late.append((when * critics[name].missed(read, torch.full_like(seen, -1), events)).mean())
    return torch.stack(wrong).sum(), torch.stack(late).sum()


def certainty(levels: Mapping[str, torch.Tensor], highest: float) -> torch.Tensor:
    """[batch] how far any of them can know when something happens: as far as the least noisy shows it."""
    shown = [level for name, level in levels.items() if name in EVENTFUL]
    return known(torch.stack(shown).amin(0), highest) if shown else torch.zeros(len(next(iter(levels.values()))))


@dataclass(frozen=True)
class Joint:
    """One pass of several modalities.

    Attributes:
        made: of each that is not clean.
        shown: environment tokens of each that has an encoder.
    """

    made: dict[str, Made]
    shown: dict[str, Tokens]


@dataclass(frozen=True)
class Made:
    """What a denoiser predicted beside its partners.

    Attributes:
        error: mean square of the velocity's error.
        estimate: of the clean latent.
    """

    error: torch.Tensor
    estimate: torch.Tensor


def joint_pass(
    engines: Mapping[str, Engine],
    clean: Latents,
    prompt: Tokens,
    levels: Mapping[str, torch.Tensor],
    bridged: bool = True,
    guidance: Guidance = OTHERS,
    corruptions: Mapping[str, Corrupt] = {},
) -> Joint:
    """One pass of each modality that is not clean, each reading all the others, or whom `guidance` lets it see.

    `corruptions` are of modalities whose experts are not of rectified flow; their estimates are not to be used.
    """
    noisy = {name: corruptions.get(name, flow)(latent, levels[name]) for name, (latent, _) in clean.items()}
    shown: dict[str, Tokens] = {}
    for name, (latent, _, _) in noisy.items():
        environment = engines[name].environment
        if environment is not None:
            seen = (
                latent
                if environment.reads_latent
                else _features(engines[name], clean[name][1], latent, prompt, levels[name])
            )
            shown[name] = Tokens(environment(seen, levels[name]), engines[name].token_times(clean[name][1]))
    made: dict[str, Made] = {}
    for name, (latent, target, weight) in noisy.items():
        if (levels[name] > 0).any():
            partners = gather(guidance.seen(name, shown)) if bridged else None
            velocity = engines[name].denoiser(latent, levels[name], prompt, clean[name][1], partners).sample
            level = levels[name].view(-1, *([1] * (latent.ndim - 1)))
            made[name] = Made((weight * (velocity - target).square()).mean(), latent - level * velocity)
    return Joint(made, shown)


def flow(clean: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rectified flow's corruption (see Corrupt)."""
    return *noised(clean, level), torch.ones(())


@torch.no_grad()
def _features(
    engine: Engine, clock: torch.Tensor, latent: torch.Tensor, prompt: Tokens, level: torch.Tensor
) -> torch.Tensor | None:
    """What a frozen denoiser knows; a given has the null prompt."""
    asked = prompt if bool((level > 0).any()) else Tokens(torch.zeros_like(prompt.states))
    return engine.denoiser(latent, level, asked, clock).features


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
            for name, made in joint_pass(pair, clean, prompt, at, bridged).made.items():
                rows.setdefault(name, []).append(float(made.error))
        figures |= {f"{name} {label}": on / off for name, (on, off) in rows.items()}
    return figures
