"""The picture of a scene, anti-aliased from signed distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from codi.worlds.sounding_shapes.cast import PROCEDURAL, Cast
from codi.worlds.sounding_shapes.factors import FRAMES, SIDE
from codi.worlds.sounding_shapes.motions import MOTION_OF, Extent, Track
from codi.worlds.sounding_shapes.scene import Scene

_PY, _PX = (np.ascontiguousarray(g, dtype=np.float32) + np.float32(0.5) for g in np.mgrid[:SIDE, :SIDE])
_NOISE: Final = np.random.default_rng(20).standard_normal(1 << 19, dtype=np.float32)


def render_video(scene: Scene, cast: Cast = PROCEDURAL, marks: bool = True) -> np.ndarray:
    """All frames: uint8 [16, 64, 64, 3]; frame k stands at k / 8 seconds. Without marks events show by motion only."""
    return _render(scene, np.arange(FRAMES), cast, marks)


def render_image(scene: Scene, frame: int, cast: Cast = PROCEDURAL) -> np.ndarray:
    """One frame of the clip, 0 to 15: uint8 [64, 64, 3]; it equals that frame of the video but for the noise."""
    return np.asarray(_render(scene, np.array([frame]), cast, marks=True)[0])


def _render(scene: Scene, frames: np.ndarray, cast: Cast, marks: bool) -> np.ndarray:
    """uint8 [frames, 64, 64, 3]."""
    sprite = cast[scene.shape].sprite
    track = MOTION_OF[scene.motion].track(scene, sprite.extent, frames)
    back = background(scene)
    level = np.repeat(back[None], len(frames), axis=0)
    if marks:
        _draw_marks(level, scene, frames, track, sprite.extent, float(back.mean()))
    x, y, radius = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (track.x, track.y, track.radius))
    rgb, cover = sprite.paint(scene, (_PX - x) / radius, (_PY - y) / radius, radius)
    rgb -= level
    rgb *= cover[:, None]
    level += rgb
    return _with_noise(level, scene, first=int(frames[0]))


def _with_noise(level: np.ndarray, scene: Scene, first: int) -> np.ndarray:
    """Levels [frames, 3, 64, 64] in 0..1 to bytes [frames, 64, 64, 3], with the scene's pixel noise.

    The noise is another draw for another first frame.
    """
    start = (scene.seed * 37 + first * 7919) % (len(_NOISE) - level.size)
    level *= np.float32(255)
    level += np.float32(0.5)
    if scene.look.noise >= 0.3:  # less than that is lost in the rounding
        level += np.float32(scene.look.noise) * _NOISE[start : start + level.size].reshape(level.shape)
    np.clip(level, 0, 255, out=level)
    return np.ascontiguousarray(level.astype(np.uint8).transpose(0, 2, 3, 1))


def _draw_marks(level: np.ndarray, scene: Scene, frames: np.ndarray, track: Track, extent: Extent, mean: float) -> None:
    """Draws the mark of each event into its frame, light on dark or dark on light."""
    mark = MOTION_OF[scene.motion].mark
    if mark is None:
        return
    shade = np.float32(0.98 if mean < 0.5 else 0.02)
    for n in np.flatnonzero(np.isin(frames, scene.event_frames)):
        distance = mark(scene, extent, float(track.x[n]), float(track.y[n]), float(track.radius[n]), _PX, _PY)
        cover = np.clip(0.5 - distance, 0, 1).astype(np.float32)
        level[n] += cover * (shade - level[n])


def track_of(scene: Scene, cast: Cast = PROCEDURAL) -> Track:
    """Where the object is in each of the 16 frames."""
    return MOTION_OF[scene.motion].track(scene, cast[scene.shape].sprite.extent, np.arange(FRAMES))


def background(scene: Scene) -> np.ndarray:
    """What is behind the object: float32 [3, 64, 64] in 0..1, nearly grey."""
    look = scene.look
    pattern = BACKGROUND_OF[look.background](scene) * np.float32(look.contrast)
    tint = np.asarray(look.tint, dtype=np.float32)[:, None, None]
    grey = np.float32(look.level) + pattern + tint
    return np.asarray(np.clip(grey, 0.02, 0.98), dtype=np.float32)


def _flat(scene: Scene) -> np.ndarray:
    del scene
    return np.zeros((SIDE, SIDE), dtype=np.float32)


def _along(scene: Scene) -> np.ndarray:
    """Position along the scene's angle, float32 [64, 64] in about -1..1."""
    c, s = np.float32(np.cos(scene.look.angle)), np.float32(np.sin(scene.look.angle))
    return np.asarray(((_PX - 32) * c + (_PY - 32) * s) / np.float32(32))


def _stripes(scene: Scene) -> np.ndarray:
    return np.asarray(np.sin(_along(scene) * np.float32(6 + 14 * scene.look.scale)))


def _checks(scene: Scene) -> np.ndarray:
    cell = np.float32(8 + 8 * scene.look.scale)
    odd = (np.floor(_PX / cell) + np.floor(_PY / cell)) % 2
    return np.asarray(odd.astype(np.float32) - np.float32(0.5))


def _spots(scene: Scene) -> np.ndarray:
    cell = np.float32(2 * np.pi / (13 + 12 * scene.look.scale))
    return np.asarray(np.clip(3 * (np.sin(_PX * cell) * np.sin(_PY * cell) - np.float32(0.5)), 0, 1))


def _clouds(scene: Scene) -> np.ndarray:
    """Soft noise: a few random values, blown up bilinearly."""
    cells = 4 + int(5 * scene.look.scale)
    grid = np.random.default_rng((scene.seed, 3)).standard_normal((cells + 1, cells + 1), dtype=np.float32)
    at = np.arange(SIDE) * cells / SIDE
    low = at.astype(int)
    part = (at - low).astype(np.float32)
    weights = np.zeros((SIDE, cells + 1), dtype=np.float32)
    weights[np.arange(SIDE), low] = 1 - part
    weights[np.arange(SIDE), low + 1] = part
    return np.asarray(weights @ grid @ weights.T)


BACKGROUND_OF: Final[dict[str, Callable[[Scene], np.ndarray]]] = {
    "flat": _flat,
    "gradient": _along,
    "clouds": _clouds,
    "stripes": _stripes,
    "checks": _checks,
    "spots": _spots,
}
