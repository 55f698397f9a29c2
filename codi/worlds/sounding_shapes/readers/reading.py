"""What a reader finds in a medium."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codi.worlds.sounding_shapes.captions import read_caption
from codi.worlds.sounding_shapes.factors import FACTORS, FPS, INTERVALS, RATE, SIDE
from codi.worlds.sounding_shapes.readers.networks import HOP, frame_inputs, log_mel
from codi.worlds.sounding_shapes.readers.weights import networks

BATCH: Final = 64
NO_EVENTS: Final = np.zeros(0, dtype=np.float64)
THRESHOLD: Final = 0.5
GAP_FRAMES: Final = 2
GAP_STEPS: Final = 20
LEAD: Final = 10
"""Steps of silence before a sound."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What one medium shows.

    Attributes:
        factors: value of each factor that the medium shows; a still scene has no tempo, an image neither
            motion nor tempo, and a text only what it names.
        events: times in seconds, ascending, float64. A still scene's only event is its start; image and text
            have none.
        features: float32 vector for distances between sets of media.
    """

    factors: dict[str, str]
    events: np.ndarray
    features: np.ndarray

    @property
    def moving_events(self) -> np.ndarray:
        """The events of a scene that moves; none of a still one, whose start is no test of synchrony."""
        return NO_EVENTS if self.factors.get("motion") == "still" else self.events


def read_text(captions: Sequence[str]) -> list[Reading]:
    """Reads captions; a factor that a text does not name, or names twice differently, is absent."""
    found = [read_caption(text) for text in captions]
    return [Reading(factors, NO_EVENTS, _one_hot(factors)) for factors in found]


@torch.no_grad()
def read_image(images: np.ndarray | Sequence[np.ndarray]) -> list[Reading]:
    """Reads pictures: uint8 [batch, 64, 64, 3]."""
    net = networks()[0]
    readings = []
    for pixels in _batches(images, BATCH):
        features, logits, _ = net(_pictures(pixels))
        readings += _readings(features, logits, [NO_EVENTS] * len(pixels))
    return readings


@torch.no_grad()
def read_places(images: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Where the object of each picture is: uint8 [batch, 64, 64, 3] -> [batch, 2], x and y in pixels."""
    net = networks()[0]
    found = [net(_pictures(pixels))[2][:, :2].numpy() for pixels in _batches(images, BATCH)]
    return SIDE * np.concatenate(found)


@torch.no_grad()
def read_video(videos: np.ndarray | Sequence[np.ndarray], fps: float = FPS) -> list[Reading]:
    """Reads clips: uint8 [batch, frames, 64, 64, 3]; event times are frame times.

    The network has seen clips of 8 frames a second alone and counts frames; at another rate the tempo is read from the
    events' times, where there are two.
    """
    frame, clip, _ = networks()
    readings = []
    for pixels in _batches(videos, BATCH // 8):
        features, logits, heat = clip(frame_inputs(frame, _pictures(pixels)))
        events = [_peaks(h, GAP_FRAMES).astype(np.float64) / fps for h in heat.sigmoid().numpy()]
        readings += _readings(features, logits, events)
    return readings if fps == FPS else [_paced(_untimed(reading)) for reading in readings]


@torch.no_grad()
def read_audio(sounds: np.ndarray | Sequence[np.ndarray]) -> list[Reading]:
    """Reads sounds: float32 [batch, samples] at 16 kHz, mono; event times are onsets, to a few milliseconds."""
    net = networks()[2]
    readings = []
    for samples in _batches(sounds, BATCH):
        # A hit at 0 s is an onset only after something: a tenth of a second of silence.
        heard = np.pad(samples.astype(np.float32), ((0, 0), (LEAD * HOP, 0)))
        features, logits, heat = net(log_mel(torch.from_numpy(heard)))
        events = [_onsets(h) for h in heat.sigmoid().numpy()]
        readings += [_paced(reading) for reading in _readings(features, logits, events)]
    return readings


def _untimed(reading: Reading) -> Reading:
    return replace(reading, factors={name: value for name, value in reading.factors.items() if name != "tempo"})


def _paced(reading: Reading) -> Reading:
    """Tempo by the median interval where there is one: event times are in seconds, whatever the network counts."""
    if len(reading.moving_events) < 2:
        return reading
    frames = float(np.median(np.diff(reading.events))) * FPS
    tempo = min(INTERVALS, key=lambda name: abs(frames - sum(INTERVALS[name]) / 2))
    return replace(reading, factors={**reading.factors, "tempo": tempo})


def _batches(media: np.ndarray | Sequence[np.ndarray], size: int) -> list[np.ndarray]:
    return [np.stack([np.asarray(m) for m in media[n : n + size]]) for n in range(0, len(media), size)]


def _pictures(pixels: np.ndarray) -> Tensor:
    """uint8 [..., height, width, 3] -> float [..., 3, 64, 64] in -1..1; other sizes are scaled."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, -3).float() / 127.5 - 1
    if x.shape[-2:] == (SIDE, SIDE):
        return x
    scaled = F.interpolate(x.flatten(0, -4), size=(SIDE, SIDE), mode="bilinear", antialias=True)
    return scaled.reshape(*x.shape[:-2], SIDE, SIDE)


def _readings(features: Tensor, logits: dict[str, Tensor], events: list[np.ndarray]) -> list[Reading]:
    chosen = {name: [FACTORS[name][i] for i in values.argmax(-1).tolist()] for name, values in logits.items()}
    return [
        _reading({name: values[n] for name, values in chosen.items()}, events[n], row)
        for n, row in enumerate(features.numpy())
    ]


def _reading(factors: dict[str, str], events: np.ndarray, features: np.ndarray) -> Reading:
    if factors.get("motion") != "still":
        return Reading(factors, events, features)
    known = {name: value for name, value in factors.items() if name != "tempo"}
    return Reading(known, np.zeros(1), features)


def _peaks(heat: np.ndarray, gap: int) -> np.ndarray:
    """Indices of values above THRESHOLD that are the largest within `gap` on both sides."""
    padded = np.pad(heat, gap, constant_values=-1.0)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * gap + 1)
    best = (heat >= THRESHOLD) & (np.argmax(around, axis=1) == gap)
    return np.flatnonzero(best)


def _onsets(heat: np.ndarray) -> np.ndarray:
    """Seconds of the heat map's peaks, between steps by a parabola through three values; it begins LEAD steps early."""
    at = _peaks(heat, GAP_STEPS)
    padded = np.log(np.pad(heat, 1, mode="edge") + 1e-6)
    before, here, after = padded[at], padded[at + 1], padded[at + 2]
    bend = before - 2 * here + after
    shift = np.where(np.abs(bend) > 1e-6, 0.5 * (before - after) / np.where(bend == 0, 1, bend), 0)
    times = (at - LEAD + np.clip(shift, -0.5, 0.5)) * (HOP / RATE)
    return np.asarray(np.maximum(times, 0), dtype=np.float64)


def _one_hot(factors: dict[str, str]) -> np.ndarray:
    """float32 [21]: one place per value of each factor."""
    hot = [float(factors.get(name) == value) for name, values in FACTORS.items() for value in values]
    return np.asarray(hot, dtype=np.float32)
