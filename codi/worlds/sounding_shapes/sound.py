"""The sound of a scene: timbre from the shape, pitch from the colour, decay and loudness from the size.

Each motion marks its hits in its own way: a bounce with the thud of the floor, a slide with the scrape that
follows the wall, a pulse with a trembling decay. A still scene sounds one soft tone at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from codi.worlds.sounding_shapes.cast import PROCEDURAL, Cast
from codi.worlds.sounding_shapes.factors import FPS, RATE, SAMPLES
from codi.worlds.sounding_shapes.scene import Scene, Voice

PITCHES: Final[dict[str, float]] = {
    "red": 329.63,
    "orange": 440.0,
    "yellow": 523.25,
    "green": 659.26,
    "blue": 783.99,
    "purple": 1046.50,
}
"""Hertz: E4 A4 C5 E5 G5 C6, notes of the C major pentatonic scale, at least three semitones apart."""

ATTACK: Final = 0.0008
FADE: Final = 0.02
LIMIT: Final = 0.88


def render_audio(scene: Scene, cast: Cast = PROCEDURAL) -> np.ndarray:
    """The sound of a scene.

    Returns:
        float32 [32000] in -0.9..0.9 at 16 kHz. Every hit starts at its event time; the same scene gives
        the same samples.
    """
    tone = _tone(scene, cast)
    rng = np.random.default_rng((scene.seed, 7))
    hit = RHYTHM_OF[scene.motion](tone, scene.voice, rng)
    wave = rng.standard_normal(SAMPLES, dtype=np.float32)
    wave *= np.float32(scene.voice.noise)
    for frame, accent in zip(scene.event_frames, scene.voice.accents, strict=True):
        start = round(frame / FPS * RATE)
        wave[start:] += np.float32(accent) * hit[: SAMPLES - start]
    return _finish(wave)


def _tone(scene: Scene, cast: Cast) -> np.ndarray:
    """One hit without what marks the motion, float32 [32000] with the scene's gain."""
    voice = scene.voice
    pitch = PITCHES[scene.colour] * 2 ** (voice.detune / 12)
    # A still tone has a slow attack: it needs a longer decay to be heard at all.
    voice = replace(voice, decay=2.2 * voice.decay) if scene.motion == "still" else voice
    wave = cast[scene.shape].sound.hit(pitch, voice, SAMPLES, scene.seed)
    wave[: round(ATTACK * RATE)] *= np.linspace(0, 1, round(ATTACK * RATE), dtype=np.float32)
    return wave * np.float32(voice.gain)


def _finish(wave: np.ndarray) -> np.ndarray:
    """Fades the end, so that a tone cut by the clip does not click, and keeps the peak below LIMIT."""
    n = round(FADE * RATE)
    wave[-n:] *= np.linspace(1, 0, n, dtype=np.float32)
    peak = float(np.abs(wave).max())
    return wave if peak <= LIMIT else wave * np.float32(LIMIT / peak)


def _thud(tone: np.ndarray, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """A bounce: a low thump of 0.1 s under the hit."""
    del rng
    n = RATE // 5
    time = np.arange(n, dtype=np.float32) / np.float32(RATE)
    sweep = 2 * np.pi * (80.0 * time + 1.2 * (1 - np.exp(-time / 0.03)))
    thump = np.sin(sweep).astype(np.float32) * np.exp(time * np.float32(-1 / 0.045))
    tone[:n] += np.float32(0.65 * voice.rhythm * voice.gain) * thump
    return tone


def _scrape(tone: np.ndarray, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """A slide: after the hit, 0.3 s of quiet high noise as the object leaves the wall."""
    n = RATE * 3 // 10
    noise = rng.standard_normal(n + 2, dtype=np.float32)
    noise = noise[2:] - 1.2 * noise[1:-1] + 0.6 * noise[:-2]
    envelope = np.sin(np.linspace(0, np.pi, n, dtype=np.float32)) ** 2
    tone[:n] += np.float32(0.11 * voice.rhythm * voice.gain) * envelope * noise
    return tone


def _tremble(tone: np.ndarray, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """A pulse: the decay trembles 16 times a second."""
    del rng
    n = RATE
    time = np.arange(n, dtype=np.float32) / np.float32(RATE)
    depth = np.float32(min(0.9, 0.8 * voice.rhythm) / 2)
    tone[:n] *= 1 - depth + depth * np.cos(np.float32(2 * np.pi * 16.0) * time)
    return tone


def _soften(tone: np.ndarray, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """A still scene: rising over 0.12 s instead of a hit."""
    del voice, rng
    n = RATE * 12 // 100
    tone[:n] *= np.sin(np.linspace(0, np.pi / 2, n, dtype=np.float32)) ** 2
    return tone


RHYTHM_OF: Final[dict[str, Callable[[np.ndarray, Voice, np.random.Generator], np.ndarray]]] = {
    "bounce": _thud,
    "slide": _scrape,
    "pulse": _tremble,
    "still": _soften,
}
