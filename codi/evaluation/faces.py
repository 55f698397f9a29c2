"""How each modality shows a scene and is read back, in the engine's own media types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from codi.media import Audio, Video
from codi.types import At, InputError, Part
from codi.worlds.sounding_shapes.captions import caption, full_caption
from codi.worlds.sounding_shapes.factors import FPS, FRAMES, RATE, SHOWN
from codi.worlds.sounding_shapes.readers import Reading, read_audio, read_image, read_text, read_video
from codi.worlds.sounding_shapes.render import render_image, render_video
from codi.worlds.sounding_shapes.scene import Scene
from codi.worlds.sounding_shapes.sound import render_audio

Media = Any
"""A str, a uint8 picture, an Audio or a Video."""


@dataclass(frozen=True)
class Face:
    """One modality of the world.

    Attributes:
        show: (scene, rng) -> the medium of a scene, all factors told.
        tell: (scene, factors to name, rng) -> a prompt; only a text can leave out what it could show.
        read: media -> what they show.
        names: (scene, factors to name) -> the factors that `tell` names.
        show_at: (scene, seconds) -> the medium of that instant.
    """

    show: Callable[[Scene, np.random.Generator], Media]
    tell: Callable[[Scene, Collection[str], np.random.Generator], Media]
    read: Callable[[Sequence[Media]], list[Reading]]
    names: Callable[[Scene, Collection[str]], set[str]]
    show_at: Callable[[Scene, float], Media] = lambda scene, seconds: _no_instant()


def _picture(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    return render_image(scene, int(rng.integers(FRAMES)))


def _picture_at(scene: Scene, seconds: float) -> np.ndarray:
    return render_image(scene, min(int(seconds * FPS), FRAMES - 1))


def _no_instant() -> Media:
    raise InputError("at", "is an instant of a medium that has none", "let a picture stand there")


def _sound(scene: Scene, rng: np.random.Generator) -> Audio:
    del rng
    return Audio(render_audio(scene)[None], RATE)


def _clip(scene: Scene, rng: np.random.Generator) -> Video:
    del rng
    return Video(render_video(scene), FPS)


def _read_sounds(sounds: Sequence[Audio]) -> list[Reading]:
    """Reads the mean of the channels."""
    wrong = [s.rate for s in sounds if s.rate != RATE]
    if wrong:
        raise InputError("audio", f"{wrong[0]} samples a second", f"the reader takes {RATE}")
    return read_audio([np.atleast_2d(s.samples).mean(0) for s in sounds])


def _read_clips(clips: Sequence[Video]) -> list[Reading]:
    return [r for c in clips for r in read_video(np.asarray(c.frames)[None], c.fps)]


def _shows(modality: str) -> Callable[[Scene, Collection[str]], set[str]]:
    return lambda scene, named: set(SHOWN[modality]) & set(scene.factors)


def _always(show: Callable[[Scene, np.random.Generator], Media]) -> Callable[..., Media]:
    return lambda scene, named, rng: show(scene, rng)


def medium_of(stands: Media) -> Media:
    """A medium without its place: the instant that it stands at, or the part of it that stands."""
    return stands.media if isinstance(stands, At | Part) else stands


FACES: Final[dict[str, Face]] = {
    "text": Face(full_caption, caption, read_text, lambda scene, named: set(named) & set(scene.factors)),
    "image": Face(_picture, _always(_picture), read_image, _shows("image"), _picture_at),
    "audio": Face(_sound, _always(_sound), _read_sounds, _shows("audio")),
    "video": Face(_clip, _always(_clip), _read_clips, _shows("video")),
}
