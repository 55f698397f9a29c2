"""Sound files: WAV, FLAC, Ogg, MP3, AIFF and m4a come in; 16-bit WAV goes out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from codi import ffmpeg
from codi.media import (
    MAX_BYTES,
    MAX_SECONDS,
    Audio,
    check_audio,
    check_file,
    check_seconds,
    container,
    corrupt,
    kind_of,
    replacing,
    unreadable,
)
from codi.types import InputError

SUFFIX = ".wav"
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff")
FORMATS = "a WAV, FLAC, Ogg, MP3, AIFF or m4a sound"
_PLAIN = ("WAV", "FLAC", "MP3", "AIFF")
_SHARED = ("Ogg", "MP4", "WebM")  # these hold pictures or sound: only a look inside tells
_RATES = (1_000, 384_000)


def sniff(path: Path) -> bool:
    """Whether the content is sound without moving pictures."""
    kind = container(path)
    if kind not in _SHARED:
        return kind in _PLAIN
    found = ffmpeg.probe(path)
    return found.rate is not None and found.codec is None


def check(media: Any, name: str) -> Audio:
    """A sound as Python gives it.

    Raises:
        InputError: no `Audio` of [channels, samples], finite and some, or no rate.
    """
    if not isinstance(media, Audio):
        raise InputError(name, f"is {kind_of(media)}", "give a codi.Audio")
    if getattr(media.samples, "ndim", 0) != 2 or not np.issubdtype(media.samples.dtype, np.floating):
        raise InputError(name, f"has samples {kind_of(media.samples)}", "give float [channels, samples] in -1 to 1")
    if not media.rate > 0:
        raise InputError(name, f"has a rate of {media.rate}", "give samples a second")
    check_audio(media, name)
    return media


def read(path: Path) -> Audio:
    """Read a sound at its own rate, all channels, float32 [channels, samples].

    Raises:
        InputError: missing, empty, no sound, damaged, longer than 10 minutes, without samples, or not finite.
    """
    check_file(path, FORMATS)
    if not sniff(path):
        # A damaged m4a shows no stream at all: it is damaged, not another modality.
        raise corrupt(path) if _hollow(path) else unreadable(path, FORMATS)
    audio = _decode_shared(path) if container(path) in ("MP4", "WebM") else _decode(path)
    return check_audio(audio, str(path))


def _hollow(path: Path) -> bool:
    if container(path) not in _SHARED:
        return False
    found = ffmpeg.probe(path)
    return found.rate is None and found.codec is None


def _decode(path: Path) -> Audio:
    import soundfile

    try:
        info = soundfile.info(str(path))
        check_seconds(info.frames / info.samplerate, str(path))
        _check_layout(path, info.samplerate, info.frames * info.channels)
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise corrupt(path) from error
    return Audio(np.ascontiguousarray(samples.T), int(rate))


def _decode_shared(path: Path) -> Audio:
    found = ffmpeg.probe(path)
    check_seconds(found.seconds, str(path))
    assert found.rate is not None
    _check_layout(path, found.rate, 0)
    try:
        samples = ffmpeg.decode_sound(path, found.rate, found.channels, MAX_SECONDS + 1)
    except ffmpeg.FfmpegError as error:
        raise corrupt(path) from error
    # Again, since a header may lie or say nothing.
    check_seconds(samples.shape[1] / found.rate, str(path))
    return Audio(samples, found.rate)


def _check_layout(path: Path, rate: int, samples: int) -> None:
    if not _RATES[0] <= rate <= _RATES[1]:
        raise InputError(str(path), f"has a rate of {rate} Hz", f"give {_RATES[0]} to {_RATES[1]} Hz")
    if samples > MAX_BYTES:
        raise InputError(str(path), f"has {samples // 10**6} million samples", "cut it or mix it down to stereo")


def write(media: Audio, path: Path, recipe: str | None) -> None:
    """Write a 16-bit WAV with the recipe as its comment.

    Raises:
        InputError: no samples, samples that are not finite, or a place that cannot be written.
    """
    import soundfile

    audio = check_audio(media, str(path))
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            soundfile.write(file, audio.samples.T, audio.rate, "PCM_16", format="WAV")
        if recipe is not None:
            _append_comment(temporary, recipe.encode("utf-8"))


def _append_comment(path: Path, text: bytes) -> None:
    """Append a LIST/INFO chunk with an ICMT entry: libsndfile drops comments above some 4,000 bytes."""
    text += b"\0" * (1 + (len(text) + 1) % 2)
    chunk = b"INFO" + b"ICMT" + struct.pack("<I", len(text)) + text
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.write(b"LIST" + struct.pack("<I", len(chunk)) + chunk)
        size = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", size))


def read_recipe(path: Path) -> str | None:
    """The comment of a WAV, FLAC or Ogg file, or None.

    Raises:
        InputError: the file cannot be read.
    """
    import soundfile

    check_file(path, FORMATS)
    if container(path) == "WAV":
        return _wav_comment(path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            return str(file.comment) or None
    except soundfile.SoundFileError:
        return None


def _wav_comment(path: Path) -> str | None:
    data = path.read_bytes()
    for kind, start, size in _chunks(data, 12):
        if kind == b"LIST" and data[start : start + 4] == b"INFO":
            for entry, at, length in _chunks(data[: start + size], start + 4):
                if entry == b"ICMT":
                    return data[at : at + length].rstrip(b"\0").decode("utf-8", "replace")
    return None


def _chunks(data: bytes, start: int) -> Iterator[tuple[bytes, int, int]]:
    """RIFF chunks from `start`: name, start of the content, size."""
    while start + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, start)
        yield name, start + 8, size
        start += 8 + size + size % 2
