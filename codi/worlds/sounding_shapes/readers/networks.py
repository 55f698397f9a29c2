"""The small networks of the readers. They see pixels and samples only."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from codi.worlds.sounding_shapes.factors import FACTORS, RATE

MELS: Final = 64
WINDOW: Final = 512
HOP: Final = 160
FRAME_FACTORS: Final = ("shape", "colour", "size")
FEATURES: Final = 64


def _norm(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU())


class Heads(nn.Module):
    """One linear classifier per factor."""

    def __init__(self, channels: int, factors: tuple[str, ...]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(channels, len(FACTORS[name])) for name in factors})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """[batch, channels] -> logits [batch, values] per factor."""
        return {name: head(x) for name, head in self.heads.items()}


class FrameNet(nn.Module):
    """Reads one picture: its object's factors, place and radius, and whether it holds an event's mark."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_norm(3, 24, 5, 2), _norm(24, 48, 3, 2), _norm(48, 64, 3), _norm(64, 96, 3, 2))
        self.attention = nn.Conv2d(96, 1, 1)
        self.embed = nn.Sequential(nn.Linear(192, FEATURES), nn.ReLU())
        self.heads = Heads(FEATURES, FRAME_FACTORS)
        self.mark = nn.Linear(FEATURES, 1)
        self.radius = nn.Linear(FEATURES, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Reads pictures.

        Args:
            x: [batch, 3, 64, 64] in -1..1.

        Returns:
            features [batch, 64], logits per factor, and [batch, 4]: x, y and radius in units of the picture's
            side, and the logit of a mark.
        """
        maps = self.stem(x.contiguous(memory_format=torch.channels_last))  # a third faster on the CPU
        weights = self.attention(maps).flatten(2).softmax(-1)  # [batch, 1, 64]
        flat = maps.flatten(2)
        features = self.embed(torch.cat([(flat * weights).sum(-1), flat.amax(-1)], dim=1))
        place = weights[:, 0] @ _cell_centres(maps.shape[-1]).to(x)
        return features, self.heads(features), torch.cat([place, self.radius(features), self.mark(features)], dim=1)


def _cell_centres(side: int) -> Tensor:
    """[side * side, 2]: x and y of each cell, 0..1."""
    at = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


class ClipNet(nn.Module):
    """Reads a clip from what FrameNet says of its frames."""

    inputs: Final = FEATURES + 14 + 4

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(self.inputs, 64, 3, padding=1)
        self.more = nn.ModuleList([nn.Conv1d(64, 64, 3, padding=1) for _ in range(3)])
        self.event = nn.Conv1d(64, 1, 1)
        self.embed = nn.Sequential(nn.Linear(128, FEATURES), nn.ReLU())
        self.heads = Heads(FEATURES, tuple(FACTORS))

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """[batch, 82, frames] -> features [batch, 64], logits per factor, logits of events [batch, frames]."""
        x = torch.relu(self.first(x))
        for layer in self.more:
            x = x + torch.relu(layer(x))
        features = self.embed(torch.cat([x.mean(-1), x.amax(-1)], dim=1))
        return features, self.heads(features), self.event(x)[:, 0]


def frame_inputs(net: FrameNet, video: Tensor) -> Tensor:
    """What ClipNet reads: [batch, frames, 3, 64, 64] -> [batch, 82, frames]."""
    batch, frames = video.shape[:2]
    features, logits, found = net(video.flatten(0, 1))
    joined = torch.cat([features, *(v.softmax(-1) for v in logits.values()), found], dim=1)
    return joined.reshape(batch, frames, -1).transpose(1, 2)


class SoundNet(nn.Module):
    """Reads a sound from its log-mel spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        # Frequencies are channels: pitches and timbres are few, and a spectrogram as a picture costs ten times more.
        self.stem = nn.Sequential(nn.Conv1d(MELS, 128, 3, padding=1, bias=False), nn.BatchNorm1d(128), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv1d(128, 64, 3, padding=1, bias=False), nn.BatchNorm1d(64), nn.ReLU())
        self.more = nn.ModuleList([nn.Conv1d(64, 64, 3, padding=d, dilation=d) for d in (1, 2, 4, 8, 16)])
        self.event = nn.Conv1d(64, 1, 1)
        self.embed = nn.Sequential(nn.Linear(128, FEATURES), nn.ReLU())
        self.heads = Heads(FEATURES, tuple(FACTORS))

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """[batch, 64, steps] -> features [batch, 64], logits per factor, logits of events [batch, steps]."""
        x = self.mix(self.stem(x))
        for layer in self.more:
            x = x + torch.relu(layer(x))
        features = self.embed(torch.cat([x.mean(-1), x.amax(-1)], dim=1))
        return features, self.heads(features), self.event(x)[:, 0]


def log_mel(samples: Tensor) -> Tensor:
    """Log-mel spectrogram: [batch, N] -> [batch, 64, N / 160 + 1], about -1..1; step k is centred on k * 10 ms."""
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, return_complex=True, pad_mode="constant").abs()
    level = _mel_filters() @ spectrum
    return (level.clamp(min=3e-2).log10() - 0.25) / 1.6


def _mel_filters() -> Tensor:
    """Triangular filters [64, 257], evenly spaced on the mel scale from 0 to 8 kHz."""
    hertz = torch.linspace(0, RATE / 2, WINDOW // 2 + 1)
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, MELS + 2) / 2595) - 1)
    rise = (hertz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - hertz) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp(min=0)
