"""Small experts of video and audio: transformers on codi-mini's latents, and how they run in codi's joint loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from einops import rearrange, repeat

from codi.ablations.processes import Process
from codi.networks.clip_transformer import ClipTransformer, patches
from codi.port import Port
from codi.types import ClipSpec, Denoised, Tokens

WIDTH: Final = 192


@dataclass(frozen=True)
class Medium:
    """A modality at prototype scale: latents [batch, channels, columns, side, side].

    Attributes:
        channels, side, patch: of its latents and of a transformer's tokens.
        rate: columns a second in training.
        framed: whether a clip's frame rate sets that of its columns.
        fold: codi-mini's latents [batch, ...] -> these.
        unfold: and back.
    """

    channels: int
    side: int
    patch: int
    rate: float
    framed: bool
    fold: Callable[[torch.Tensor], torch.Tensor]
    unfold: Callable[[torch.Tensor], torch.Tensor]

    @property
    def slots(self) -> int:
        """Tokens of a column."""
        return (self.side // self.patch) ** 2

    def network(self, width: int = WIDTH, layers: int = 6) -> ClipTransformer:
        """An untrained denoiser."""
        return ClipTransformer(self.channels, self.patch, width, layers, width // 32, cell_width=32)


def _same(latent: torch.Tensor) -> torch.Tensor:
    return latent


MEDIA: Final[dict[str, Medium]] = {
    "video": Medium(12, 8, 4, 8.0, True, _same, _same),
    "audio": Medium(
        64,
        1,
        1,
        16.0,
        False,
        lambda latent: rearrange(latent, "b c r t -> b (c r) t 1 1"),
        lambda latent: rearrange(latent, "b (c r) t 1 1 -> b c r t", r=4),
    ),
}

Told = Callable[[torch.Tensor, float], torch.Tensor]
"""(times in seconds, columns a second in training) -> the times that a bridge is told."""


def seconds(times: torch.Tensor, rate: float) -> torch.Tensor:
    """The clock of codi's bridges."""
    return times


def no_clock(times: torch.Tensor, rate: float) -> torch.Tensor:
    """No time at all."""
    return torch.full_like(times, torch.nan)


def index(times: torch.Tensor, rate: float) -> torch.Tensor:
    """Numbers of columns, as if every clip had the rate of training."""
    return (torch.arange(len(times), dtype=times.dtype) + 0.5) / rate


CLOCKS: Final[dict[str, Told]] = {"seconds": seconds, "none": no_clock, "index": index}


class ExpertDenoiser:
    """A transformer as a codi Denoiser.

    Args:
        medium: of its latents.
        model: the transformer.
        bridge: its readers, or None.
        told: the clock of the bridge; the transformer's own is in seconds.
    """

    def __init__(self, medium: Medium, model: ClipTransformer, bridge: Any = None, told: Told = seconds) -> None:
        self.medium, self.model, self.told, self.port = medium, model, told, Port(model, bridge)

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """See `codi.modality.Denoiser`."""
        times = repeat(self.told(clock, self.medium.rate), "f -> (f n)", n=self.medium.slots)
        with self.port.reading(prompt, partners, lambda positions: times):
            sample, hidden = self.model(latent, 1000 * level, prompt.states, clock)
        shown = rearrange(hidden, "b f h w c -> b (f h w) c")
        return Denoised(sample, torch.cat([shown, patches(latent, self.medium.patch)], dim=-1))


def feature_channels(medium: Medium) -> int:
    """Channels of what an ExpertDenoiser shows."""
    return WIDTH + medium.channels * medium.patch**2


class ExpertEngine:
    """A modality's engine for the joint loop: what it denoises with, and what it shows the other.

    Args:
        medium: of its latents.
        process: how they are noised.
        denoiser: runs the network.
        environment: what it shows; None for nothing.
        told: the clock of its environment tokens.
        media: engine of codi-mini that prompts, encodes and decodes; None in training.
    """

    def __init__(
        self,
        medium: Medium,
        process: Process,
        denoiser: Any,
        environment: Any = None,
        told: Told = seconds,
        media: Any = None,
    ) -> None:
        self.medium, self.process, self.denoiser = medium, process, denoiser
        self.environment, self.told, self.media = environment, told, media

    def clock(self, clip: ClipSpec) -> torch.Tensor:
        """Middles of the columns."""
        rate = clip.fps if self.medium.framed else self.medium.rate
        return (torch.arange(round(clip.duration * rate), dtype=torch.float64) + 0.5) / rate

    def token_times(self, clock: torch.Tensor) -> torch.Tensor:
        """Times of what it shows."""
        times: torch.Tensor = self.environment.times(self.told(clock, self.medium.rate))
        return times

    def latent_shape(self, clip: ClipSpec) -> tuple[int, ...]:
        """Of one clip."""
        return (self.medium.channels, len(self.clock(clip)), self.medium.side, self.medium.side)

    def encode(self, media: Sequence[Any], clip: ClipSpec) -> torch.Tensor:
        """Media -> clean latents."""
        return self.medium.fold(torch.cat([self.media.encode(medium, clip) for medium in media]))

    def decode(self, latent: torch.Tensor, clip: ClipSpec) -> list[Any]:
        """Latents -> media."""
        return list(self.media.decode(self.medium.unfold(latent), clip))
