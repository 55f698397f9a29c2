"""Stages `critic_<modality>`: read an object's factors from latents, and judge the denoisers by them.

The squared error of a latent hardly feels whether an object is a heart or a diamond, or how often it bounces, so a
small denoiser learns colours in minutes and shapes in hours. A perceptual term says it aloud (as Lin and Yang 2024,
"Diffusion model with perceptual loss", do with a denoiser's own features): what the critic reads from the estimate of
the clean latent must be what is true. Critics see latents of the training set only; they are no part of the bundle, nor
of the readers that measure it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from einops.layers.torch import Rearrange
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from codi.training import latents
from codi.training.loop import FitConfig, Losses, fit, runs_folder
from codi.training.text_autoencoder import full_caption_latents
from codi.worlds.sounding_shapes.factors import FACTORS, FRAMES, SHOWN

HELD_BACK: Final = 200
"""Clips that a critic is validated on."""


class Critic(nn.Module, ABC):
    """Latents -> what is wrong with them."""

    @abstractmethod
    def missed(self, read: Any, facts: torch.Tensor, events: torch.Tensor | None) -> torch.Tensor:
        """[batch] errors of what was read against the truth.

        Args:
            read: what a pass over latents gave.
            facts: [batch, factors], -1 where a factor does not apply.
            events: [batch, frames] 1 in the frames of events; None where they are not asked for.
        """

    def error(self, latent: torch.Tensor, facts: torch.Tensor, events: torch.Tensor | None) -> torch.Tensor:
        """[batch] errors of latents [batch, ...]; see `missed`."""
        return self.missed(self(latent), facts, events)

    @abstractmethod
    def facts(self, read: Any) -> dict[str, torch.Tensor]:
        """Of what was read, logits by factor."""

    def heat(self, read: Any) -> torch.Tensor | None:
        """Of what was read, logits [batch, frames] of an event in each frame; None where events do not show."""
        return None

    @abstractmethod
    def accuracy(self, latent: torch.Tensor, facts: torch.Tensor, events: torch.Tensor) -> dict[str, float]:
        """Share read right, by factor."""


def heads_of(width: int, factors: Iterable[str]) -> nn.ModuleDict:
    """One linear reading per factor."""
    return nn.ModuleDict({name: nn.Linear(width, len(FACTORS[name])) for name in factors})


def mean_error(logits: dict[str, torch.Tensor], facts: torch.Tensor) -> torch.Tensor:
    """[batch] cross-entropy, the mean over factors; one that does not apply counts 0."""
    rows = [
        functional.cross_entropy(row, facts[:, _column(name)], reduction="none", label_smoothing=0.05, ignore_index=-1)
        for name, row in logits.items()
    ]
    return torch.stack(rows).mean(0)


def _accuracy(logits: dict[str, torch.Tensor], facts: torch.Tensor) -> dict[str, float]:
    right = {name: row.argmax(1) == facts[:, _column(name)] for name, row in logits.items()}
    return {name: float(row[facts[:, _column(name)] >= 0].float().mean()) for name, row in right.items()}


def _column(name: str) -> int:
    return list(FACTORS).index(name)


class FactCritic(Critic):
    """What it reads is logits by factor, and nothing else."""

    def missed(self, read: Any, facts: torch.Tensor, events: torch.Tensor | None) -> torch.Tensor:
        """See the class; events do not show."""
        return mean_error(read, facts)

    def facts(self, read: Any) -> dict[str, torch.Tensor]:
        """See the class."""
        return dict(read)

    def accuracy(self, latent: torch.Tensor, facts: torch.Tensor, events: torch.Tensor) -> dict[str, float]:
        """See the class."""
        return _accuracy(self(latent), facts)


class TextCritic(FactCritic):
    """Latents [batch, 8, 16]: all factors."""

    def __init__(self, size: int = 128, width: int = 256) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.SiLU())
        self.heads = heads_of(width, SHOWN["text"])

    def forward(self, latent: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits by factor."""
        hidden = self.body(latent)
        return {name: head(hidden) for name, head in self.heads.items()}


class PictureCritic(FactCritic):
    """Latents [batch, 12, 8, 8]: shape, colour and size."""

    def __init__(self, channels: int = 12, width: int = 96) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)),
            nn.SiLU(),
        )
        self.heads = heads_of(4 * width, SHOWN["image"])

    def forward(self, latent: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits by factor."""
        grid = self.body(latent).flatten(2)
        pooled = torch.cat([grid.mean(-1), grid.amax(-1)], dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}


class EventCritic(Critic):
    """Latents over time: some factors, and in which of the 16 frames events happen.

    Args:
        frame: latents -> [batch, width, 16], what each frame shows.
        factors: that it reads.
    """

    def __init__(self, frame: nn.Module, width: int, factors: Iterable[str] = ("motion", "tempo")) -> None:
        super().__init__()
        self.frame = frame
        self.time = nn.ModuleList(nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in (1, 2, 4))
        self.event = nn.Conv1d(width, 1, 3, padding=1)
        self.heads = heads_of(2 * width, factors)

    def forward(self, latent: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Logits by factor, and of an event in each frame [batch, frames]."""
        hidden = self.frame(latent)
        for layer in self.time:
            hidden = hidden + functional.silu(layer(hidden))
        pooled = torch.cat([hidden.mean(-1), hidden.amax(-1)], dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}, self.event(hidden)[:, 0]

    def missed(self, read: Any, facts: torch.Tensor, events: torch.Tensor | None) -> torch.Tensor:
        """See the class."""
        logits, heat = read
        if events is None:
            return mean_error(logits, facts)
        missed = functional.binary_cross_entropy_with_logits(heat, events, reduction="none").mean(1)
        return mean_error(logits, facts) + missed

    def facts(self, read: Any) -> dict[str, torch.Tensor]:
        """See the class."""
        return dict(read[0])

    def heat(self, read: Any) -> torch.Tensor:
        """See the class."""
        return read[1]  # type: ignore[no-any-return]

    def accuracy(self, latent: torch.Tensor, facts: torch.Tensor, events: torch.Tensor) -> dict[str, float]:
        """See the class; of events, the share of frames."""
        logits, heat = self(latent)
        return _accuracy(logits, facts) | {"events": float(((heat > 0) == (events > 0.5)).float().mean())}


class ClipCritic(EventCritic):
    """Latents [batch, 12, 16, 8, 8]."""

    def __init__(self, channels: int = 12, width: int = 128) -> None:
        frame = nn.Sequential(
            *(Rearrange("b c f h w -> (b f) c h w"), nn.Conv2d(channels, 64, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(64 * 16, width), nn.SiLU()),
            Rearrange("(b f) c -> b c f", f=FRAMES),
        )
        super().__init__(frame, width)


class SoundCritic(EventCritic):
    """Latents [batch, 16, 4, 32]: two columns a frame. It reads all factors, shape and colour as timbre and pitch."""

    def __init__(self, channels: int = 16, bands: int = 4, width: int = 128) -> None:
        frame = nn.Sequential(
            *(nn.Flatten(1, 2), nn.Conv1d(channels * bands, width, 3, padding=1), nn.SiLU()),
            *(nn.Conv1d(width, width, 4, stride=2, padding=1), nn.SiLU()),
        )
        super().__init__(frame, width, SHOWN["audio"])


class ClipAndFrames(Critic):
    """Latents of clips: the clip critic on the whole, the picture critic on a few of its frames.

    Args:
        clip, picture: finished critics.
        count: frames of a clip that are looked at, drawn anew each time.
    """

    def __init__(self, clip: Critic, picture: Critic, count: int = 2) -> None:
        super().__init__()
        self.clip, self.picture, self.count = clip, picture, count

    def forward(self, latent: torch.Tensor) -> tuple[Any, list[Any]]:
        """What the one reads in the clip and the other in each of the frames."""
        frames = torch.randperm(latent.shape[2])[: self.count].tolist()
        return self.clip(latent), [self.picture(latent[:, :, k]) for k in frames]

    def missed(self, read: Any, facts: torch.Tensor, events: torch.Tensor | None) -> torch.Tensor:
        """See the class."""
        clip, frames = read
        seen = [self.picture.missed(frame, facts, events) for frame in frames]
        return self.clip.missed(clip, facts, events) + torch.stack(seen).mean(0)

    def facts(self, read: Any) -> dict[str, torch.Tensor]:
        """See the class; of the picture's factors, the mean over the frames that were looked at."""
        clip, frames = read
        seen = [self.picture.facts(frame) for frame in frames]
        return self.clip.facts(clip) | {name: torch.stack([one[name] for one in seen]).mean(0) for name in seen[0]}

    def heat(self, read: Any) -> torch.Tensor | None:
        """See the class."""
        return self.clip.heat(read[0])

    def accuracy(self, latent: torch.Tensor, facts: torch.Tensor, events: torch.Tensor) -> dict[str, float]:
        """See the class; of the picture's factors, in the middle frame."""
        seen = self.picture.accuracy(latent[:, :, latent.shape[2] // 2], facts, events)
        return self.clip.accuracy(latent, facts, events) | seen


Draw = Callable[[np.random.Generator, np.ndarray], tuple[torch.Tensor, torch.Tensor]]
CRITICS: Final[dict[str, type[Critic]]] = {
    "text": TextCritic,
    "image": PictureCritic,
    "video": ClipCritic,
    "audio": SoundCritic,
}
EVENTFUL: Final = frozenset(name for name, kind in CRITICS.items() if issubclass(kind, EventCritic))
"""Modalities that show when something happens."""


def train(name: str, count: int, draw: Draw, settings: DictConfig) -> None:
    """Run a stage.

    Args:
        name: the modality.
        count: clips that there are.
        draw: (generator, numbers of clips) -> clean latents and their facts.
        settings: the stage's configuration.
    """
    torch.manual_seed(0)
    model = CRITICS[name]()
    # (nothing happens in texts, whose numbers are of no scenes)
    events = latents.event_frames(count) if name in EVENTFUL else torch.zeros(count, FRAMES)

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        clips = rng.integers(0, count - HELD_BACK, batch)
        clean, facts = draw(rng, clips)
        spread = 0.5 * torch.rand(batch, *([1] * (clean.ndim - 1)))
        noisy = clean + spread * torch.randn_like(clean)
        return {"loss": model.error(noisy, facts, events[clips]).mean()}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        clips = np.arange(count - HELD_BACK, count)
        return model.accuracy(*draw(np.random.default_rng(1), clips), events[clips])

    fit(f"critic_{name}", model, loss, FitConfig(**settings.fit), validate)
    save_file(model.state_dict(), critic_weights(name))


def train_text(settings: DictConfig) -> None:
    """Stage `critic_text`: latents of canonical full captions."""
    clean, facts = full_caption_latents()

    def draw(rng: np.random.Generator, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return clean[rows], facts[rows]

    train("text", len(clean), draw, settings)


def train_image(settings: DictConfig) -> None:
    """Stage `critic_image`: single frames."""
    store = latents.load("video")
    facts = latents.facts_table(len(store))

    def draw(rng: np.random.Generator, clips: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(store[clips, rng.integers(0, store.shape[1], len(clips))]).float(), facts[clips]

    train("image", len(store), draw, settings)


def train_video(settings: DictConfig) -> None:
    """Stage `critic_video`: whole clips."""
    store = latents.load("video")
    facts = latents.facts_table(len(store))

    def draw(rng: np.random.Generator, clips: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(store[clips]).float().transpose(1, 2), facts[clips]

    train("video", len(store), draw, settings)


def train_audio(settings: DictConfig) -> None:
    """Stage `critic_audio`: half of the sounds between the notes.

    With the notes alone a critic knows the held-out pairs by what they are not: it takes their timbre for any other's.
    """
    train("audio", len(latents.load("audio")), latents.sounds(0.5), settings)


def critic_weights(name: str) -> Path:
    """Where the finished critic of a modality stands."""
    return runs_folder() / f"critic_{name}" / "final.safetensors"


def load_critic(name: str) -> Critic:
    """The finished critic of a modality, frozen."""
    model = CRITICS[name]()
    model.load_state_dict(load_file(critic_weights(name)))
    return model.eval().requires_grad_(False)
