"""Clips: mp4, mov, webm, mkv, avi and moving GIF come in with their sound; mp4 (H.264, AAC) goes out."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codi import ffmpeg
from codi.media import (
    MAX_PIXELS,
    Audio,
    Video,
    check_audio,
    check_file,
    check_pictures,
    check_seconds,
    container,
    corrupt,
    kind_of,
    moving_gif,
    replacing,
    unreadable,
)
from codi.types import InputError

SUFFIX = ".mp4"
SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif")
FORMATS = "an mp4, mov, webm, mkv or avi clip, or a moving GIF"
CARRIES = "audio"
"""The modality that a file of this one can hold beside its own."""

MAX_SECONDS = 60.0
MAX_SIDE = 512
MAX_DECODED = 2**30
_KINDS = ("MP4", "WebM", "AVI", "GIF", "Ogg")
# Packets of these codecs may stand in an mp4 as they are.
_COPIED = ("h264", "hevc", "mpeg4", "mpeg2video", "vp9", "av1", "mjpeg")


def sniff(path: Path) -> bool:
    """Whether the content is moving pictures; a GIF of one frame is a picture."""
    kind = container(path)
    if kind == "GIF":
        return moving_gif(path)
    return kind in _KINDS and ffmpeg.probe(path).codec is not None


def check(media: Any, name: str) -> Video:
    """A clip as Python gives it.

    Raises:
        InputError: no `Video` of uint8 frames [frames, height, width, 3], at least one, or no rate.
    """
    if not isinstance(media, Video):
        raise InputError(name, f"is {kind_of(media)}", "give a codi.Video")
    check_pictures(media.frames, name, "frames, height, width, 3")
    if not (math.isfinite(media.fps) and media.fps > 0):
        raise InputError(name, f"has a rate of {media.fps}", "give frames a second")
    return media


def read(path: Path) -> Video:
    """Read a clip at its own rate with its sound track, frames upright and scaled down to fit 512 x 512.

    A clip of varying frame times comes out at its base rate, frames repeated where it stands still.

    Raises:
        InputError: missing, empty, no clip, damaged, no frames, longer than 60 s, or too large to decode.
    """
    check_file(path, FORMATS)
    found = _probe(path)
    check_seconds(found.seconds, str(path), MAX_SECONDS)
    if found.pixels > MAX_PIXELS:
        raise InputError(str(path), f"has frames of {found.pixels // 10**6} million pixels", "scale it down")
    if not found.fps:
        raise corrupt(path)
    try:
        frames = _frames(path, found)
        audio = _sound(path, found)
    except ffmpeg.FfmpegError as error:
        raise corrupt(path) from error
    # Again, since a header may lie or say nothing.
    check_seconds(len(frames) / found.fps, str(path), MAX_SECONDS)
    return Video(frames, found.fps, audio)


def _probe(path: Path) -> ffmpeg.Probe:
    """The header of a clip.

    Raises:
        InputError: the content is no clip, or a clip without frames.
    """
    if container(path) not in _KINDS:
        raise unreadable(path, FORMATS)
    found = ffmpeg.probe(path)
    if found.codec is None and found.rate is not None:
        raise InputError(str(path), "holds sound and no frames", f"give {FORMATS}")
    if found.codec is None:
        raise corrupt(path)
    return found


def _frames(path: Path, found: ffmpeg.Probe) -> NDArray[np.uint8]:
    frames: list[NDArray[np.uint8]] = []
    for frame in ffmpeg.decode_frames(path, found.fps, MAX_SIDE, found.alpha, MAX_SECONDS + 1):
        frames.append(frame)
        if len(frames) * frame.size > MAX_DECODED:
            raise InputError(str(path), "takes more than 1 GiB decoded", "cut it or lower its frame rate")
    if not frames:
        raise InputError(str(path), "has no frames", f"give {FORMATS}")
    return np.stack(frames)


def _sound(path: Path, found: ffmpeg.Probe) -> Audio | None:
    """The sound track; one without samples counts as none."""
    if found.rate is None:
        return None
    samples = ffmpeg.decode_sound(path, found.rate, found.channels, MAX_SECONDS + 1)
    return check_audio(Audio(samples, found.rate), str(path)) if samples.size else None


def attach(media: Video, sound: Audio) -> Video:
    """The same clip with another sound track."""
    return dataclasses.replace(media, audio=sound)


def write(media: Video, path: Path, recipe: str | None) -> None:
    """Write an mp4 (H.264 in yuv420p, AAC) with the recipe as its comment; the same clip gives the same bytes.

    A side of an odd number of pixels gets its last row or column twice, since yuv420p has even sides.

    Raises:
        InputError: no frames, unusable sound, or a place that cannot be written.
    """
    if media.frames.shape[0] == 0:
        raise InputError(str(path), "has no frames", "give at least one")
    height, width = media.frames.shape[1:3]
    frames = np.pad(media.frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    sound = check_audio(media.audio, str(path)) if media.audio else None
    track = (sound.samples, sound.rate) if sound else None
    with tempfile.TemporaryDirectory() as scratch, replacing(path) as temporary:
        ffmpeg.encode(frames, media.fps, track, temporary, recipe, Path(scratch))


def mux_original(video_path: Path, audio: Audio, out: Path, recipe: str | None = None) -> None:
    """Give a clip a new sound track and keep its own picture packets.

    The pictures stand whole; the sound starts with them and ends where it ends. A GIF, or a codec that an mp4 does not
    hold, is encoded anew.

    Raises:
        InputError: the clip cannot be read, or the place cannot be written.
    """
    check_file(video_path, FORMATS)
    if _probe(video_path).codec not in _COPIED:
        write(attach(read(video_path), audio), out, recipe)
        return
    sound = check_audio(audio, str(out))
    with tempfile.TemporaryDirectory() as scratch, replacing(out) as temporary:
        ffmpeg.copy_with_sound(video_path, sound.samples, sound.rate, temporary, recipe, Path(scratch))


def read_recipe(path: Path) -> str | None:
    """The comment of a clip, or None.

    Raises:
        InputError: the file cannot be read.
    """
    check_file(path, FORMATS)
    try:
        return ffmpeg.comment(path) if container(path) in _KINDS else None
    except ffmpeg.FfmpegError as error:
        raise corrupt(path) from error
