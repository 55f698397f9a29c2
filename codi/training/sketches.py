"""The world's shapes as somebody else would draw them: what the prompt encoders of image and video see beside renders.

Other backgrounds, fills, outlines, proportions and places than the renderer's, at the scene's own factors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from codi.worlds.sounding_shapes import sprites
from codi.worlds.sounding_shapes.factors import SIDE
from codi.worlds.sounding_shapes.render import track_of
from codi.worlds.sounding_shapes.scene import HUES, Scene

_PY, _PX = (np.ascontiguousarray(g, dtype=np.float32) + np.float32(0.5) for g in np.mgrid[:SIDE, :SIDE])
_GROW: Final = {"small": (0.7, 1.1), "large": (0.95, 1.9)}
"""By how much a drawing may differ in size from the render and keep its word."""

Paint = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sketch(scene: Scene, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames of a scene in one foreign style.

    Args:
        scene: gives shape, colour, size and the track.
        frames: numbers of the frames, [n].
        rng: draws the style.

    Returns:
        uint8 [n, 64, 64, 3].
    """
    distance: Paint = getattr(sprites, scene.shape)
    track, grow = track_of(scene), rng.uniform(*_GROW[scene.size])
    back, ink = _background(rng), _colour(scene.colour, rng)
    fill, stroke, line = _fill(ink, back, rng), _stroke(ink, rng), rng.uniform(1.0, 2.6)
    shift, angle, stretch = rng.uniform(-4, 4, 2), rng.normal(0, 0.1), np.exp(rng.normal(0, 0.07))
    drawn = []
    for frame in frames:
        radius = float(track.radius[frame] * grow)
        x, y = (_inside(v[frame] + s, radius) for v, s in zip((track.x, track.y), shift, strict=True))
        u, v = (_PX - x) / radius, (_PY - y) / radius
        turned = (u * np.cos(angle) + v * np.sin(angle)) / stretch, (v * np.cos(angle) - u * np.sin(angle)) * stretch
        depth = distance(*(np.asarray(t, dtype=np.float32) for t in turned)) * radius
        picture = back + _cover(depth) * (fill - back)
        if stroke is not None:
            picture = picture + _cover(np.abs(depth) - line / 2) * (stroke - picture)
        drawn.append(picture)
    return (np.clip(np.stack(drawn), 0, 1) * 255 + 0.5).astype(np.uint8)


def _inside(at: float, radius: float) -> float:
    """A place at which most of the object is in the picture."""
    edge = min(radius, SIDE / 2)
    return float(np.clip(at, edge, SIDE - edge))


def _cover(depth: np.ndarray) -> np.ndarray:
    """[64, 64, 1]: 1 inside, 0 outside, a pixel wide between."""
    return np.clip(0.5 - depth, 0, 1)[..., None]


def _background(rng: np.random.Generator) -> np.ndarray:
    """[64, 64, 3]: paper, black, or two pale or dark colours that run into each other."""
    kind = rng.random()
    if kind < 0.35:
        return np.full((SIDE, SIDE, 3), rng.uniform(0.92, 1.0))
    if kind < 0.5:
        return np.full((SIDE, SIDE, 3), rng.uniform(0.0, 0.1))
    level, spread = rng.uniform(0.1, 0.9), rng.uniform(0.0, 0.22)
    one, two = (np.clip(level + spread * rng.uniform(-1, 1, 3), 0, 1) for _ in range(2))
    along = (_PX * np.cos(kind * 20) + _PY * np.sin(kind * 20)) / SIDE
    return one + (np.clip(along, 0, 1) * (rng.random() < 0.5))[..., None] * (two - one)


def _colour(name: str, rng: np.random.Generator) -> np.ndarray:
    """[3]: a colour that goes by that name, paler, darker or a little further off than the renderer's."""
    low, high = HUES[name]
    hue = rng.uniform(low - 2, high + 2)
    bright = name in ("orange", "yellow")  # dark orange is brown
    value, saturation = rng.uniform(0.8 if bright else 0.5, 1.0), rng.uniform(0.6, 1.0)
    return sprites.rgb(hue, saturation, value)


def _fill(ink: np.ndarray, back: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What is inside the outline: mostly flat ink, else light from above, hatching, or nothing."""
    kind = rng.random()
    if kind < 0.55:
        return np.broadcast_to(ink, back.shape)
    if kind < 0.75:
        return ink * (1.15 - rng.uniform(0.2, 0.6) * _PY / SIDE)[..., None]
    turn, gap = rng.uniform(0, np.pi), rng.uniform(0.9, 2.0)
    lines = np.sin((_PX * np.cos(turn) + _PY * np.sin(turn)) * gap) > rng.uniform(-0.5, 0.3)
    return np.where(lines[..., None], ink, back)


def _stroke(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """The colour of the outline, if there is one."""
    kind = rng.random()
    if kind < 0.4:
        return None
    return ink if kind < 0.65 else np.full(3, 0.05 if kind < 0.9 else 0.97)
