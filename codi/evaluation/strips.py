"""Pictures of joint samples: frames over the sound's spectrogram, with the events that the readers find in each."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image
import PIL.ImageDraw

from codi.evaluation.engines import Engine
from codi.evaluation.faces import FACES
from codi.files import save

PROMPTS: Final = ("a large circle that bounces", "a small star slides", "a pulsing heart", "something happens quickly")
OUTPUTS: Final = ("video", "audio", "image", "text")
SETTINGS: Final[dict[str, dict[str, Any]]] = {"bridges on": {}, "bridges off": {"bridge_scale": 0.0}}
SIDE: Final = 48
HEIGHT: Final = 64
MARK: Final = 8
SEEN, HEARD = (230, 40, 40), (30, 90, 230)
"""Colours of the marks of events: in the clip, in the sound."""


@dataclass(frozen=True)
class Strip:
    """One joint sample.

    Attributes:
        prompt: the text that was given.
        setting: key of SETTINGS.
        caption: the text that was made.
        picture: PNG.
        files: what was made, as media files.
    """

    prompt: str
    setting: str
    caption: str
    picture: bytes
    files: tuple[Path, ...]

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.picture).decode()


def draw_strips(engine: Engine, folder: Path, seed: int) -> list[Strip]:
    """Make the same prompts with bridges on and off, write the media below the folder, and draw them."""
    strips = []
    for setting, options in SETTINGS.items():
        made = engine({"text": list(PROMPTS)}, OUTPUTS, seed, **options)
        for n, prompt in enumerate(PROMPTS):
            media = {name: made[name][n] for name in OUTPUTS}
            place = folder / setting.replace(" ", "-") / str(n)
            place.mkdir(parents=True, exist_ok=True)
            files = tuple(save({name: [medium] for name, medium in media.items()}, place, None))
            strips.append(Strip(prompt, setting, media["text"], _png(media), files))
    return strips


def _png(media: dict[str, Any]) -> bytes:
    video, audio = media["video"], media["audio"]
    frames = np.concatenate([_scaled(frame, SIDE, SIDE) for frame in np.asarray(video.frames)], axis=1)
    width = frames.shape[1]
    duration = audio.samples.shape[-1] / audio.rate
    seen, heard = (FACES[name].read([media[name]])[0].events for name in ("video", "audio"))
    marks = _marks(width, [(seen, SEEN), (heard, HEARD)], duration)
    body = np.concatenate([frames, marks, _scaled(spectrogram(audio.samples.mean(0), audio.rate), width, HEIGHT)])
    image = _scaled(np.asarray(media["image"]), len(body), len(body))
    stream = io.BytesIO()
    PIL.Image.fromarray(np.concatenate([body, image], axis=1)).save(stream, "PNG")
    return stream.getvalue()


def _marks(width: int, tracks: Sequence[tuple[np.ndarray, tuple[int, int, int]]], duration: float) -> np.ndarray:
    """A white band with a row of marks for each track."""
    band = PIL.Image.new("RGB", (width, MARK * len(tracks)), "white")
    pen = PIL.ImageDraw.Draw(band)
    for row, (events, colour) in enumerate(tracks):
        for moment in events:
            x = float(moment) / duration * width
            pen.rectangle((x - 2, row * MARK + 1, x + 2, (row + 1) * MARK - 2), fill=colour)
    return np.asarray(band)


def spectrogram(samples: np.ndarray, rate: int, window: int = 512, hop: int = 128) -> np.ndarray:
    """uint8 [rows, columns, 3]: power up to half of `rate`, 70 dB from black to white, low frequencies below."""
    padded = np.pad(samples, (window // 2, window // 2))
    slices = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(slices)) ** 2
    loud = np.clip(1 + np.log10(power / max(power.max(), 1e-9) + 1e-12) / 7, 0, 1)
    # Rows of equal steps in pitch from 100 Hz on: the notes lie low.
    pitch = np.geomspace(100, rate / 2, 96) / (rate / window)
    rows = loud.T[np.round(pitch).astype(int).clip(0, loud.shape[1] - 1)][::-1]
    return np.asarray((np.stack([rows**0.8, rows**1.6, 0.35 + 0.3 * rows - 0.35 * rows**2], -1) * 255).astype(np.uint8))


def _scaled(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(
        PIL.Image.fromarray(picture).convert("RGB").resize((width, height), PIL.Image.Resampling.BILINEAR)
    )
