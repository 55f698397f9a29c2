"""How an object moves, and the brief mark that it leaves where an event happens.

Lengths are pixels of the 64 x 64 picture, which spans 0 to 64 on both axes with y pointing down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from codi.worlds.sounding_shapes.factors import SIDE
from codi.worlds.sounding_shapes.scene import Scene

RING_GAP: Final = 3.0
"""Distance between a swollen object and the ring that marks the peak."""


@dataclass(frozen=True)
class Extent:
    """Half the width and half the height of a sprite, in units of its radius."""

    width: float
    height: float


@dataclass(frozen=True)
class Track:
    """Where an object is: centre and radius in pixels, each float64 [frames]."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray


@dataclass(frozen=True)
class Motion:
    """A motion: its track over given frames, and the mark of an event in one of them.

    Attributes:
        track: (scene, extent, frames [n]) -> Track of n frames.
        mark: (scene, extent, x, y, radius, px, py) -> signed distance in pixels to the mark [64, 64],
            of an object at (x, y) in a frame where an event happens; None leaves no mark.
    """

    track: Callable[[Scene, Extent, np.ndarray], Track]
    mark: Callable[[Scene, Extent, float, float, float, np.ndarray, np.ndarray], np.ndarray] | None


def _progress(scene: Scene, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each frame: the number of its interval, how far into it the frame is (0 to 1), the interval's length."""
    edges = np.asarray((scene.before, *scene.event_frames, scene.after), dtype=np.float64)
    index = np.searchsorted(edges, frames, side="right") - 1
    index = np.minimum(index, len(edges) - 2)
    length = edges[index + 1] - edges[index]
    return index, (frames - edges[index]) / length, length


def _span(at: float, reach: float, margin: float) -> float:
    """A place 0..1 mapped to where an object reaching `reach` pixels stays inside the margins."""
    low, high = margin + reach, SIDE - margin - reach
    return low + at * (high - low)


def _bounce(scene: Scene, extent: Extent, frames: np.ndarray) -> Track:
    look = scene.look
    half = extent.height * look.radius
    floor = SIDE - look.margin
    room = floor - 2 * half - 2.0
    _, u, length = _progress(scene, frames)
    height = room * (length / 9.0) ** 0.6 * 4 * u * (1 - u)
    x = _span(look.place[0], extent.width * look.radius, 1.0)
    return Track(np.full(len(frames), x), floor - half - height, np.full(len(frames), look.radius))


def _slide(scene: Scene, extent: Extent, frames: np.ndarray) -> Track:
    look = scene.look
    half = extent.width * look.radius
    left, right = look.margin + half, SIDE - look.margin - half
    index, u, _ = _progress(scene, frames)
    starts_left = (index + look.first_wall) % 2 == 1
    x = np.where(starts_left, left + (right - left) * u, right + (left - right) * u)
    y = _span(look.place[1], extent.height * look.radius, 2.0)
    return Track(x, np.full(len(frames), y), np.full(len(frames), look.radius))


def _pulse(scene: Scene, extent: Extent, frames: np.ndarray) -> Track:
    look = scene.look
    _, u, _ = _progress(scene, frames)
    radius = look.radius * (1 + (look.swell - 1) * np.abs(2 * u - 1) ** 1.5)
    reach = max(extent.width, extent.height) * look.radius * look.swell + RING_GAP + 1.5
    x, y = (np.full(len(frames), _span(at, reach, 0.5)) for at in look.place)
    return Track(x, y, radius)


def _still(scene: Scene, extent: Extent, frames: np.ndarray) -> Track:
    look = scene.look
    x = _span(look.place[0], extent.width * look.radius, 1.0)
    y = _span(look.place[1], extent.height * look.radius, 1.0)
    return Track(*(np.full(len(frames), value) for value in (x, y, look.radius)))


def _box(x: np.ndarray, y: np.ndarray, cx: float, cy: float, half_w: float, half_h: float) -> np.ndarray:
    return np.maximum(np.abs(x - cx) - half_w, np.abs(y - cy) - half_h)


def _floor_mark(
    scene: Scene, extent: Extent, x: float, y: float, radius: float, px: np.ndarray, py: np.ndarray
) -> np.ndarray:
    del y
    return _box(px, py, x, SIDE - scene.look.margin + 0.9, extent.width * radius + 6.0, 1.1)


def _wall_mark(
    scene: Scene, extent: Extent, x: float, y: float, radius: float, px: np.ndarray, py: np.ndarray
) -> np.ndarray:
    margin = scene.look.margin
    wall = margin - 0.9 if x < SIDE / 2 else SIDE - margin + 0.9
    return _box(px, py, wall, y, 1.1, extent.height * radius + 6.0)


def _ring_mark(
    scene: Scene, extent: Extent, x: float, y: float, radius: float, px: np.ndarray, py: np.ndarray
) -> np.ndarray:
    del scene
    ring = max(extent.width, extent.height) * radius + RING_GAP
    return np.abs(np.hypot(px - x, py - y) - ring) - 1.0


MOTION_OF: Final[dict[str, Motion]] = {
    "bounce": Motion(_bounce, _floor_mark),
    "slide": Motion(_slide, _wall_mark),
    "pulse": Motion(_pulse, _ring_mark),
    "still": Motion(_still, None),
}
