"""Sprites: what an object looks like, sampled in its own coordinates.

Coordinates are in units of the object's radius with y pointing down; (0, 0) is the middle of its bounding box.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codi.worlds.sounding_shapes.motions import Extent
from codi.worlds.sounding_shapes.scene import Scene

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(x, y) -> signed distance to the outline, negative inside, all in units of the radius."""


class SpriteSource(Protocol):
    """A look: the procedural shapes here, or pictures of real things."""

    @property
    def extent(self) -> Extent:
        """How far it reaches from its middle."""
        ...

    def paint(self, scene: Scene, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sprite at points (x, y).

        Args:
            scene: gives colour, outline, shading and texture.
            x: float32 [frames, height, width] in units of the radius.
            y: the same, pointing down.
            radius: pixels, [frames, 1, 1].

        Returns:
            RGB float32 [frames, 3, height, width] in 0..1 and cover float32 [frames, height, width] in 0..1.
        """
        ...


def circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to a circle of radius 1."""
    return np.asarray(np.sqrt(x * x + y * y) - 1.0)


def square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to an upright square of half-side 0.88."""
    dx, dy = np.abs(x) - 0.88, np.abs(y) - 0.88
    outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0))


def triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to an equilateral triangle of side 2.1 that points up."""
    half, root = np.float32(1.05), np.float32(np.sqrt(3.0))
    px, py = np.abs(x) - half, half / (2 * root) - y + half / root
    beyond = px + root * py > 0
    px, py = np.where(beyond, (px - root * py) / 2, px), np.where(beyond, (-root * px - py) / 2, py)
    px = px - np.clip(px, -2 * half, 0)
    return np.asarray(-np.sqrt(px * px + py * py) * np.sign(py))


def star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to a five-pointed star of outer radius 1.2 that points up."""
    outer, c, s = 1.2, np.float32(0.809016994), np.float32(0.587785252)
    px, py = np.abs(x), np.float32(0.115) - y
    dot = 2 * np.maximum(c * px - s * py, 0)
    px, py = px - dot * c, py + dot * s
    dot = 2 * np.maximum(-c * px - s * py, 0)
    px, py = np.abs(px + dot * c), py + dot * s - outer
    bx, by = np.float32(0.47 * s), np.float32(0.47 * c - 1.0)
    h = np.clip((px * bx + py * by) / (bx * bx + by * by), 0, outer)
    return np.asarray(np.sqrt((px - bx * h) ** 2 + (py - by * h) ** 2) * np.sign(py * bx - px * by))


def heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to a heart about 2 wide."""
    unit = np.float32(0.58)
    px, py = np.abs(x) * unit, np.float32(0.552) - y * unit
    lobe = np.sqrt((px - 0.25) ** 2 + (py - 0.75) ** 2) - np.float32(np.sqrt(2) / 4)
    top = px * px + (py - 1) ** 2
    m = np.maximum(px + py, 0) / 2
    side = (px - m) ** 2 + (py - m) ** 2
    body = np.sqrt(np.minimum(top, side)) * np.sign(px - py)
    return np.asarray(np.where(px + py > 1, lobe, body) / unit)


def diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to an upright rhombus with half-diagonals 0.85 and 1.15."""
    bx, by = np.float32(0.85), np.float32(1.15)
    px, py = np.abs(x), np.abs(y)
    h = np.clip((-2 * (px * bx - py * by) + bx * bx - by * by) / (bx * bx + by * by), -1, 1)
    distance = np.sqrt((px - bx * (1 - h) / 2) ** 2 + (py - by * (1 + h) / 2) ** 2)
    return np.asarray(distance * np.sign(px * by + py * bx - bx * by))


@dataclass(frozen=True)
class Drawn:
    """A sprite drawn from a signed distance, filled with the scene's colour."""

    distance: Distance
    extent: Extent

    def paint(self, scene: Scene, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See SpriteSource.paint."""
        pixels = self.distance(x, y) * radius
        look = scene.look
        ink = rgb(look.hue, look.saturation, look.value)[:, None, None] * _light(scene, x, y)[:, None]
        if look.outline:
            edge = np.clip(pixels + (look.outline + 0.5), 0, 1)[:, None]
            ink += edge * (np.float32(look.outline_level) - ink)
        return ink, np.clip(0.5 - pixels, 0, 1)


def rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """A colour, float32 [3] in 0..1, from its hue in degrees and its saturation and value in 0..1."""
    sector = (hue / 60.0 + np.array([5.0, 3.0, 1.0])) % 6.0
    chroma = saturation * np.clip(np.minimum(sector, 4.0 - sector), 0.0, 1.0)
    return np.asarray(value * (1 - chroma), dtype=np.float32)


def _light(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Brightness over the object, float32 around 1: a light from one side, and the texture."""
    look = scene.look
    slope = 0.5 * look.shading
    light = x * (slope * math.cos(look.light)) + y * (slope * math.sin(look.light)) + (1.0 - slope)
    return np.asarray(np.clip(light, 0.5, 1.0, out=light) * TEXTURE_OF[look.texture](scene, x, y))


def _plain(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    del scene, y
    return np.ones((1,) * x.ndim, dtype=np.float32)


def _bands(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle, rate = scene.look.angle, np.float32(4.0 + 3.0 * scene.look.scale)
    wave = np.sin(rate * (np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y))
    return 1.0 - np.float32(scene.look.texture_strength) * (wave > 0)


def _dots(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rate = np.float32(5.0 + 2.5 * scene.look.scale)
    return np.asarray(
        1.0 - np.float32(1.4 * scene.look.texture_strength) * (np.sin(rate * x) * np.sin(rate * y) > 0.35)
    )


def _speckle(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    grains = np.random.default_rng(scene.seed).random(64 * 64, dtype=np.float32)
    cell = ((y * 4 + 40).astype(np.int32) * 64 + (x * 4 + 40).astype(np.int32)) & 4095
    return 1.0 - np.float32(1.5 * scene.look.texture_strength) * grains[cell]


TEXTURE_OF: dict[str, Callable[[Scene, np.ndarray, np.ndarray], np.ndarray]] = {
    "plain": _plain,
    "bands": _bands,
    "dots": _dots,
    "speckle": _speckle,
}
