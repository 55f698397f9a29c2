"""Media in memory and on disk: the types, the bounds that hold before anything is decoded, and whole-file writes.

What belongs to one modality (its formats, how it is decoded) stands in `codi/modalities/<name>/media.py`.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from codi.types import InputError

Image: TypeAlias = NDArray[np.uint8]
"""A picture, uint8 [height, width, 3], sRGB."""

Media: TypeAlias = Any
"""Text (str), Image, Audio, Video, or what a later modality holds."""

MAX_PIXELS = 50_000_000
MAX_SECONDS = 600.0
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Audio:
    """Sound.

    Attributes:
        samples: float32 [channels, samples] in [-1, 1].
        rate: samples per second.
    """

    samples: NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[-1]) / self.rate


@dataclass(frozen=True)
class Video:
    """A clip.

    Attributes:
        frames: uint8 [frames, height, width, 3]; frame k stands from k / fps to (k + 1) / fps seconds.
        fps: frames per second.
        audio: its sound track, which starts with the first frame.
    """

    frames: NDArray[np.uint8]
    fps: float
    audio: Audio | None = None

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(self.frames.shape[0]) / self.fps


def check_file(path: Path, formats: str) -> None:
    """Refuse what cannot be media at all, before a byte is decoded.

    Args:
        path: the file.
        formats: the formats that would be right, in words.

    Raises:
        InputError: there is no such file, it is no regular file, empty, unreadable or larger than 256 MiB.
    """
    name = str(path)
    if not os.path.lexists(path):
        raise InputError(name, "no such file", f"give {formats}")
    if not path.is_file():
        raise InputError(name, "is not a regular file", f"give {formats}")
    if not os.access(path, os.R_OK):
        raise InputError(name, "may not be read", "change its permissions")
    size = path.stat().st_size
    if size == 0:
        raise InputError(name, "is empty", f"give {formats}")
    if size > MAX_BYTES:
        raise InputError(name, f"has {size / 2**20:.0f} MiB", f"give at most {MAX_BYTES // 2**20} MiB")


def check_audio(audio: Audio, name: str) -> Audio:
    """Sound that can be used: it has samples, and they are finite. A peak above 1 is scaled to 1.

    Raises:
        InputError: no samples, or samples that are NaN or infinite.
    """
    if audio.samples.size == 0:
        raise InputError(name, "has no samples", "give a sound that lasts")
    if not np.isfinite(audio.samples).all():
        raise InputError(name, "holds samples that are NaN or infinite", "give samples between -1 and 1")
    peak = float(np.abs(audio.samples).max())
    return Audio(audio.samples / np.float32(peak), audio.rate) if peak > 1 else audio


def check_pictures(pictures: Any, name: str, axes: str) -> NDArray[np.uint8]:
    """Pixels that can be used: uint8, of the axes that `axes` names, none of them empty.

    Raises:
        InputError: anything else.
    """
    count = axes.count(",") + 1
    is_array = isinstance(pictures, np.ndarray) and pictures.dtype == np.uint8 and pictures.ndim == count
    if is_array and pictures.shape[-1] == 3 and pictures.size:
        return pictures
    raise InputError(name, f"is {kind_of(pictures)}", f"give uint8 [{axes}], at least one pixel")


def kind_of(thing: Any) -> str:
    """What a thing is, in words for an error message: its type, of an array the numbers and the shape."""
    return f"{thing.dtype} {list(thing.shape)}" if isinstance(thing, np.ndarray) else f"of type {type(thing).__name__}"


def check_seconds(seconds: float, name: str, limit: float = MAX_SECONDS) -> None:
    """Refuse media that is too long to decode.

    Raises:
        InputError: more seconds than `limit`.
    """
    # Rounded: a header's duration and the decoded one differ by a frame or so.
    if round(seconds) > limit:
        raise InputError(name, f"lasts {seconds:.0f} s", f"cut it to at most {limit:.0f} s")


# Magic bytes at an offset, and the format that they announce.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WebP"),
    (8, b"WAVE", "WAV"),
    (8, b"AVI ", "AVI"),
    (8, b"AIFF", "AIFF"),
    (8, b"AIFC", "AIFF"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (0, b"ID3", "MP3"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyp", "MP4"),
    (4, b"moov", "MP4"),
    (4, b"mdat", "MP4"),
    (4, b"wide", "MP4"),
    (0, b"\x1a\x45\xdf\xa3", "WebM"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
)


def container(path: Path) -> str | None:
    """The file format that the first bytes announce ("PNG", "WAV", "MP4", ...), or None for an unknown one.

    MP4 stands for QuickTime and m4a too, WebM for Matroska.
    """
    with path.open("rb") as file:
        head = file.read(16)
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    # MPEG audio has no magic number, only a frame sync; the layer bits tell it from AAC and from a UTF-16 mark.
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:
        return "MP3"
    return None


def moving_gif(path: Path) -> bool:
    """Whether a GIF has more than one frame: then it is a clip and not a picture."""
    import PIL.Image

    try:
        with PIL.Image.open(path, formats=["GIF"]) as picture:
            return bool(getattr(picture, "is_animated", False))
    except Exception:
        # A damaged file raises anything; reading it gives the error.
        return False


def is_text(path: Path) -> bool:
    """Whether the first 64 KiB decode as UTF-8 and hold no NUL."""
    with path.open("rb") as file:
        head = file.read(2**16)
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character that the cut at 64 KiB split is not an error.
        return error.start > len(head) - 4 and len(head) == 2**16 and b"\0" not in head
    return b"\0" not in head


def describe(path: Path) -> str:
    """What a file holds, in words for an error message."""
    return container(path) or ("text" if is_text(path) else "no known format")


def unreadable(path: Path, wanted: str) -> InputError:
    """The error for a file whose content is not what was asked for."""
    return InputError(str(path), f"holds {describe(path)}", f"give {wanted}")


def corrupt(path: Path) -> InputError:
    """The error for a file of the right format that cannot be decoded."""
    return InputError(str(path), f"is a damaged {describe(path)} file", "give one that opens in other programs")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` when the block ends well, and vanishes otherwise.

    Raises:
        InputError: the file cannot be written (permissions, a full disk).
    """
    temporary = path.with_name(f".{secrets.token_hex(6)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder inside `folder`; its files move up together when the block ends well, and vanish otherwise.

    Raises:
        InputError: the folder cannot be written.
    """
    stage = folder / f".{secrets.token_hex(6)}"
    try:
        stage.mkdir(parents=True)
        yield stage
        _move_up(stage, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move_up(stage: Path, folder: Path) -> None:
    """All files or none: what would stop a later one is seen before the first moves."""
    made = sorted(stage.iterdir())
    for file in made:
        if (folder / file.name).is_dir():
            raise IsADirectoryError(errno.EISDIR, f"{file.name} is a folder")
    for file in made:
        os.replace(file, folder / file.name)


def cannot_write(path: Path, error: OSError) -> InputError:
    """The error for a place that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "no space left" if full else (error.strerror or str(error)).lower()
    return InputError(str(path), f"cannot be written ({reason})", "free some space" if full else "give another place")
