"""Instruments: the sound of one hit at a pitch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from codi.worlds.sounding_shapes.factors import RATE
from codi.worlds.sounding_shapes.scene import Voice

CEILING: Final = 7600.0
"""Partials above this frequency in hertz are left out."""


class SoundSource(Protocol):
    """A timbre: a synthesiser here, or a recorded sample played at a pitch."""

    def hit(self, pitch: float, voice: Voice, count: int, seed: int) -> np.ndarray:
        """One hit that starts at sample 0 at full strength.

        Args:
            pitch: fundamental in hertz.
            voice: decay and brightness.
            count: samples to give.
            seed: of anything random in it.

        Returns:
            float32 [count] with a peak of about 1, at RATE samples a second.
        """
        ...


Partial = tuple[float, float, float]
"""Frequency ratio, amplitude, decay rate relative to the fundamental's."""

FLUTE: Final[tuple[Partial, ...]] = ((1, 1, 1), (2, 0.06, 1.5))
REED: Final[tuple[Partial, ...]] = ((1, 1, 1), (3, 0.6, 1.1), (5, 0.42, 1.2), (7, 0.32, 1.3), (9, 0.25, 1.4))
ORGAN: Final[tuple[Partial, ...]] = ((1, 0.75, 1), (2, 0.9, 1), (4, 0.7, 1.1), (8, 0.35, 1.2))
METAL: Final[tuple[Partial, ...]] = ((1, 0.8, 1), (2.76, 0.8, 0.9), (5.4, 0.6, 1.1), (8.93, 0.3, 1.3))
STRING: Final[tuple[Partial, ...]] = tuple((n, 0.85 ** (n - 1) / n**0.3, 1 + 0.25 * (n - 1)) for n in range(1, 8))
WOOD: Final[tuple[Partial, ...]] = ((1, 1, 1.2), (3.93, 0.7, 2.0), (6.6, 0.35, 3.0))


@dataclass(frozen=True)
class Partials:
    """Additive synthesis: decaying sines, and for some instruments a click of noise at the start.

    Attributes:
        partials: ratios, amplitudes and decay rates.
        click: amplitude of the noise, which is gone after some 15 ms.
    """

    partials: tuple[Partial, ...]
    click: float = 0.0

    def hit(self, pitch: float, voice: Voice, count: int, seed: int) -> np.ndarray:
        """See SoundSource.hit."""
        time = np.arange(count, dtype=np.float32) / np.float32(RATE)
        heard = [(n, p) for n, p in enumerate(self.partials) if p[0] * pitch < CEILING]
        wave = np.zeros(count, dtype=np.float32)
        for n, (ratio, amplitude, rate) in heard:
            level = amplitude * (voice.brightness if n else 1.0)
            _add_sine(wave, time, ratio * pitch, level, voice.decay / rate, phase=0.9 * n)
        wave /= 0.55 * sum(p[1] for _, p in heard) + 0.45 * max(p[1] for _, p in heard)
        if self.click:
            n = min(count, RATE // 40)
            noise = np.random.default_rng(seed).standard_normal(n, dtype=np.float32)
            wave[:n] += np.float32(self.click / 2) * noise * np.exp(-time[:n] / np.float32(0.005))
        return wave


def _add_sine(wave: np.ndarray, time: np.ndarray, hertz: float, level: float, decay: float, phase: float) -> None:
    """Adds a decaying sine in place; it stops where it has fallen below -80 dB."""
    n = min(len(time), int(9.2 * decay * RATE))
    t = time[:n]
    tone = np.sin(np.float32(2 * np.pi * hertz) * t + np.float32(phase))
    tone *= np.exp(t * np.float32(-1.0 / decay)) * np.float32(level)
    wave[:n] += tone
