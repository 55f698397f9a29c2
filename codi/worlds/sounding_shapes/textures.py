"""Pictures and sounds that are broader than the scenes hold, for the training of autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from codi.worlds.sounding_shapes import sprites
from codi.worlds.sounding_shapes.factors import RATE, SAMPLES, SIDE

_PY, _PX = (np.ascontiguousarray(g, dtype=np.float32) + np.float32(0.5) for g in np.mgrid[:SIDE, :SIDE])
_DISTANCES: Final = (
    sprites.circle,
    sprites.square,
    sprites.triangle,
    sprites.star,
    sprites.heart,
    sprites.diamond,
)


def random_texture(rng: np.random.Generator) -> np.ndarray:
    """A picture: uint8 [64, 64, 3], a backdrop under none to six layers of marks of many kinds."""
    picture = _one(rng, BACKDROPS)(rng)
    for _ in range(int(rng.integers(0, 7))):
        cover = _one(rng, MARKS)(rng)[..., None] * _uniform(rng, 0.4, 1.0)
        ink = _one(rng, (_ink, _ink, _shaded_ink))(rng)
        picture = picture + cover * (ink - picture)
    if rng.random() < 0.4:
        picture = picture + _uniform(rng, 0, 0.05) * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8))


def random_sound(rng: np.random.Generator) -> np.ndarray:
    """A sound of 2 s: float32 [32000] within -0.95..0.95, one to five events of many kinds over a noise floor."""
    wave = 10 ** _uniform(rng, -4.5, -2.2) * rng.standard_normal(SAMPLES, dtype=np.float32)
    for _ in range(int(rng.integers(1, 6))):
        start = int(rng.integers(0, SAMPLES - RATE // 10))
        count = min(SAMPLES - start, int(RATE * _uniform(rng, 0.05, 2.0)))
        part = _one(rng, SOURCES)(rng, count) * _envelope(rng, count)
        wave[start : start + count] += np.float32(_uniform(rng, 0.04, 0.7)) * part.astype(np.float32)
    peak = float(np.abs(wave).max())
    return np.asarray(wave * np.float32(min(1.0, 0.95 / peak)), dtype=np.float32)


# Backdrops: float32 [64, 64, 3] in about 0..1


def _plain(rng: np.random.Generator) -> np.ndarray:
    return np.broadcast_to(_ink(rng), (SIDE, SIDE, 3)).astype(np.float32)


def _shaded_ink(rng: np.random.Generator) -> np.ndarray:
    """A gradient between two colours."""
    t = np.clip(_ramp(rng) / 2 + 0.5, 0, 1)[..., None]
    return np.asarray(_ink(rng) * t + _ink(rng) * (1 - t))


def _fractal(rng: np.random.Generator) -> np.ndarray:
    """Noise with a 1/f^a spectrum, as photographs have, more or less coloured."""
    f = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    f[0, 0] = 1.0
    spectrum = f ** -_uniform(rng, 0.8, 2.0)
    spectrum[0, 0] = 0.0
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((3, SIDE, SIDE))) * spectrum)
    noise /= noise.std()
    grey = _uniform(rng, 0.3, 1.0)
    mixed = grey * noise[:1] + (1 - grey) * noise
    return (_ink(rng) + _uniform(rng, 0.05, 0.25) * np.moveaxis(mixed, 0, -1)).astype(np.float32)


def _waves(rng: np.random.Generator) -> np.ndarray:
    wave = np.sin(_ramp(rng) * _uniform(rng, 4, 40))
    wave = np.sign(wave) if rng.random() < 0.4 else wave
    return np.asarray(_ink(rng) + _uniform(rng, 0.02, 0.3) * wave[..., None] * _ink(rng))


def _checks(rng: np.random.Generator) -> np.ndarray:
    cell = _uniform(rng, 2.5, 16)
    odd = ((np.floor(_PX / cell) + np.floor(_PY / cell)) % 2)[..., None]
    return np.asarray(odd * _ink(rng) + (1 - odd) * _ink(rng), dtype=np.float32)


# Marks: cover float32 [64, 64] in 0..1


def _object(rng: np.random.Generator) -> np.ndarray:
    """One of the world's outlines at any size, turned and stretched; filled, or its rim only."""
    radius, angle = _uniform(rng, 3, 24), _uniform(rng, -0.6, 0.6)
    x, y = _PX - _uniform(rng, 4, 60), _PY - _uniform(rng, 4, 60)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    d = radius * _one(rng, _DISTANCES)((c * x - s * y) / radius, (s * x + c * y) / radius * _uniform(rng, 0.8, 1.25))
    return _filled(np.abs(d) - _uniform(rng, 0.6, 2.0) if rng.random() < 0.35 else d)


def _polygon(rng: np.random.Generator) -> np.ndarray:
    """A convex polygon: what several half-planes share."""
    turns = np.sort(_uniform(rng, 0, 1) + (np.arange(n := int(rng.integers(3, 8))) + 0.6 * rng.random(n)) / n)
    x, y = _PX - _uniform(rng, 8, 56), _PY - _uniform(rng, 8, 56)
    sides = [np.cos(2 * np.pi * t) * x + np.sin(2 * np.pi * t) * y for t in turns]
    return _filled(np.max(sides, axis=0) - _uniform(rng, 4, 20))


def _line(rng: np.random.Generator) -> np.ndarray:
    return _filled(_segment(*rng.uniform(0, SIDE, 4)) - _uniform(rng, 0.5, 2.5))


def _strokes(rng: np.random.Generator) -> np.ndarray:
    """A row of short strokes, like writing."""
    x, y, size = _uniform(rng, 2, 30), _uniform(rng, 4, 58), _uniform(rng, 3, 7)
    ends = [(x + i * size * 0.7 + rng.uniform(0, size, 4) * (1, 0, 1, 0)) for i in range(int(rng.integers(3, 9)))]
    lines = [_segment(e[0], y + rng.uniform(0, size), e[2], y + rng.uniform(0, size)) for e in ends]
    return _filled(np.min(lines, axis=0) - _uniform(rng, 0.5, 1.0))


def _hatching(rng: np.random.Generator) -> np.ndarray:
    """Parallel lines within a disc."""
    inside = np.hypot(_PX - _uniform(rng, 10, 54), _PY - _uniform(rng, 10, 54)) - _uniform(rng, 6, 26)
    return _filled(inside) * (np.sin(_ramp(rng) * _uniform(rng, 15, 50)) > 0.2)


def _blobs(rng: np.random.Generator) -> np.ndarray:
    spots = rng.uniform(0, SIDE, (int(rng.integers(1, 9)), 2))
    width = _uniform(rng, 2, 9)
    field = [np.exp(-((_PX - x) ** 2 + (_PY - y) ** 2) / (2 * width**2)) for x, y in spots]
    level = np.sum(field, axis=0)
    return np.asarray(np.clip(level, 0, 1) if rng.random() < 0.5 else np.clip(8 * (level - 0.5), 0, 1))


def _segment(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Distance in pixels to a straight segment."""
    dx, dy = np.float32(x1 - x0), np.float32(y1 - y0)
    h = np.clip(((_PX - np.float32(x0)) * dx + (_PY - np.float32(y0)) * dy) / (dx * dx + dy * dy + 1e-6), 0, 1)
    return np.asarray(np.hypot(_PX - np.float32(x0) - h * dx, _PY - np.float32(y0) - h * dy))


def _filled(distance: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(0.5 - distance, 0, 1), dtype=np.float32)


def _ramp(rng: np.random.Generator) -> np.ndarray:
    """Position along a random direction, in about -1..1."""
    angle = _uniform(rng, 0, 2 * np.pi)
    return np.asarray((np.float32(np.cos(angle)) * (_PX - 32) + np.float32(np.sin(angle)) * (_PY - 32)) / 32)


def _ink(rng: np.random.Generator) -> np.ndarray:
    """A colour, float32 [3]; one in three is grey."""
    colour = rng.random(3, dtype=np.float32)
    return np.full(3, colour[0]) if rng.random() < 0.33 else colour


# Sounds: float [count] with a peak of about 1


def _sines(rng: np.random.Generator, count: int) -> np.ndarray:
    """A chord or a tone with partials."""
    base = np.exp(_uniform(rng, np.log(60), np.log(4000)))
    n = int(rng.integers(1, 9))
    ratios = np.arange(1, n + 1) if rng.random() < 0.5 else np.append(1.0, rng.uniform(1, 8, n - 1))
    levels = ratios ** -_uniform(rng, 0.2, 2.0)
    heard = [(r, a) for r, a in zip(ratios, levels, strict=True) if r * base < 7600]
    t = _time(count)
    tones = [a * np.sin(np.float32(2 * np.pi * r * base) * t + np.float32(rng.uniform(0, 6.28))) for r, a in heard]
    return np.asarray(np.sum(tones, axis=0) / sum(a for _, a in heard))


def _chirp(rng: np.random.Generator, count: int) -> np.ndarray:
    start, end = np.exp(rng.uniform(np.log(60), np.log(6500), 2))
    t = _time(count)
    length = count / RATE
    return np.asarray(np.sin(2 * np.pi * (start * t + (end - start) * t * t / (2 * length))))


def _modulated(rng: np.random.Generator, count: int) -> np.ndarray:
    """Frequency and amplitude modulation."""
    carrier, t = np.exp(_uniform(rng, np.log(100), np.log(3500))), _time(count)
    rate = carrier * _uniform(rng, 0.3, 3.0) if rng.random() < 0.5 else _uniform(rng, 2, 12)
    index = _uniform(rng, 0.2, 4.0) if rate > 20 else _uniform(rng, 0.2, 0.05 * carrier)
    wave = np.sin(2 * np.pi * carrier * t + index * np.sin(2 * np.pi * rate * t))
    return np.asarray(wave * (1 - _uniform(rng, 0, 0.9) * (0.5 + 0.5 * np.sin(2 * np.pi * _uniform(rng, 2, 30) * t))))


def _noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Noise within a band."""
    spectrum = np.fft.rfft(rng.standard_normal(count, dtype=np.float32))
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    centre, width = np.exp(_uniform(rng, np.log(100), np.log(7000))), _uniform(rng, 0.1, 2.0)
    spectrum *= np.exp(-0.5 * (np.log(np.maximum(hertz, 1) / centre) / width) ** 2)
    wave = np.fft.irfft(spectrum, count)
    return np.asarray(wave / (np.abs(wave).max() + 1e-9))


def _pluck(rng: np.random.Generator, count: int) -> np.ndarray:
    """A plucked string: many harmonics, the higher ones dying sooner."""
    base, t = np.exp(_uniform(rng, np.log(80), np.log(1500))), _time(count)
    rate = _uniform(rng, 1.0, 8.0)
    orders = [n for n in range(1, 12) if n * base < 7600]
    tones = [np.sin(np.float32(2 * np.pi * n * base) * t) * np.exp(-rate * n**0.7 * t) / n**0.5 for n in orders]
    return np.asarray(np.sum(tones, axis=0) / sum(n**-0.5 for n in orders))


def _envelope(rng: np.random.Generator, count: int) -> np.ndarray:
    """Attack of 1 to 200 ms, exponential decay or none, faded end: float32 [count]."""
    t = _time(count)
    shape = np.minimum(t / np.float32(10 ** _uniform(rng, -3, -0.7)), 1)
    if rng.random() < 0.75:
        shape = shape * np.exp(-t / np.float32(10 ** _uniform(rng, -1.6, 0.2)))
    fade = min(count, RATE // 50)
    shape[count - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return np.asarray(shape)


def _time(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32) / np.float32(RATE)


Picture = Callable[[np.random.Generator], np.ndarray]
BACKDROPS: Final[tuple[Picture, ...]] = (_plain, _shaded_ink, _shaded_ink, _fractal, _fractal, _waves, _checks)
MARKS: Final[tuple[Picture, ...]] = (_object, _object, _object, _polygon, _line, _strokes, _hatching, _blobs)
SOURCES: Final = (_sines, _sines, _chirp, _modulated, _noise, _pluck)


def _one(rng: np.random.Generator, choices: tuple[Callable[..., np.ndarray], ...]) -> Callable[..., np.ndarray]:
    return choices[int(rng.integers(len(choices)))]


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))
