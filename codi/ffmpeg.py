"""The ffmpeg program that imageio-ffmpeg ships: look into a file, decode, encode, copy packets.

Files are passed as `file:` names with no other protocol allowed, so that no playlist reaches for the network.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

_QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error")
_SAFE = ("-protocol_whitelist", "file,pipe")
# Nothing of the encoder's version, the clock or the machine's core count goes into a file: bytes repeat.
_REPEATABLE = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-threads", "1")
_NTSC = {23.98: 24000 / 1001, 29.97: 30000 / 1001, 47.95: 48000 / 1001, 59.94: 60000 / 1001}


class FfmpegError(OSError):
    """ffmpeg failed; the text is the last line that it printed."""


@dataclass(frozen=True)
class Probe:
    """What the header of a file says.

    Attributes:
        seconds: duration, 0 where the file does not say.
        codec: of the moving pictures (a cover picture does not count), or None.
        fps: frames per second, 0 where unknown.
        pixels: of one frame.
        alpha: whether frames may be transparent.
        rate: samples per second of the sound, or None without sound.
        channels: of the sound, 0 without.
    """

    seconds: float = 0.0
    codec: str | None = None
    fps: float = 0.0
    pixels: int = 0
    alpha: bool = False
    rate: int | None = None
    channels: int = 0


@lru_cache(maxsize=1)
def program() -> str:
    """Path of the ffmpeg binary."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _name(path: Path) -> str:
    return f"file:{path.absolute()}"


def _run(arguments: Sequence[str], data: bytes = b"") -> bytes:
    """Run to the end and return what it wrote to stdout.

    Raises:
        FfmpegError: it failed.
    """
    done = subprocess.run([program(), *_QUIET, *arguments], capture_output=True, check=False, input=data)
    messages = done.stderr.decode(errors="replace").strip()
    # A file that was cut off decodes up to the cut with status 0: only the message tells.
    if done.returncode or "partial file" in messages:
        raise FfmpegError(messages.splitlines()[-1] if messages else f"ffmpeg ended with status {done.returncode}")
    return done.stdout


def probe(path: Path) -> Probe:
    """Read a file's header (no decoding)."""
    command = [program(), "-hide_banner", "-nostdin", *_SAFE, "-i", _name(path)]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return parse_header(done.stderr.decode(errors="replace"))


def parse_header(text: str) -> Probe:
    """The facts in what `ffmpeg -i` prints."""
    streams = re.findall(r"^ *Stream #.*?: (Video|Audio): (.*)$", text, re.MULTILINE)
    pictures = next((line for kind, line in streams if kind == "Video" and "attached pic" not in line), "")
    sound = next((line for kind, line in streams if kind == "Audio"), "")
    size = re.search(r", (\d+)x(\d+)", pictures)
    rate = re.search(r"(\d+) Hz", sound)
    return Probe(
        seconds=_duration(text),
        codec=pictures.split(maxsplit=1)[0].rstrip(",") if pictures else None,
        fps=_frame_rate(pictures),
        pixels=int(size[1]) * int(size[2]) if size else 0,
        alpha=bool(re.search(r"\b(bgra|rgba|yuva\w*|pal8)\b", pictures)),
        rate=int(rate[1]) if rate else None,
        channels=1 if re.search(r"\b(mono|1 channels)\b", sound) else 2 if sound else 0,
    )


def _duration(text: str) -> float:
    found = re.search(r"Duration: (\d+):(\d+):([\d.]+)", text)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0


def _frame_rate(line: str) -> float:
    """Frames per second; of a clip with varying frame times, its base rate where that is a usual one."""
    average, base = (re.search(rf"([\d.]+) {unit}\b", line) for unit in ("fps", "tbr"))
    rates = [float(found[1]) for found in (average, base) if found]
    rate = max((rate for rate in rates if rate <= 60), default=rates[0] if rates else 0.0)
    return _NTSC.get(rate, rate)


def comment(path: Path) -> str | None:
    """The comment tag of a file, whole and with its line breaks, or None."""
    text = _run([*_SAFE, "-i", _name(path), "-f", "ffmetadata", "-"]).decode(errors="replace")
    found = re.search(r"^comment=((?:\\.|[^\\\n])*)$", text, re.MULTILINE | re.DOTALL)
    return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) if found else None


def decode_frames(path: Path, fps: float, side: int, alpha: bool, limit: float) -> Iterator[NDArray[np.uint8]]:
    """Frames of a clip at a constant rate, upright, scaled down to fit `side` x `side`.

    Args:
        path: the clip.
        fps: frames per second; frames that a clip of varying rate lacks are repeated.
        side: longest side in pixels.
        alpha: frames may be transparent; they are laid on white.
        limit: stop after so many seconds.

    Yields:
        uint8 [height, width, 3].

    Raises:
        FfmpegError: the file cannot be decoded.
    """
    white = "split[a][b];[a]drawbox=c=white@1:t=fill:replace=1[w];[w][b]overlay=format=rgb," if alpha else ""
    fit = f"scale=w='min(iw,{side})':h='min(ih,{side})':force_original_aspect_ratio=decrease"
    graph = f"{white}fps={fps!r}:start_time=0,{fit}:flags=bicubic+accurate_rnd+full_chroma_int"
    # Portable pixmaps carry their own size, which rotation and scaling leave open until decoding.
    command = [*_SAFE, "-t", repr(limit), "-i", _name(path), "-map", "0:V:0", "-vf", graph]
    command += ["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [program(), *_QUIET, "-xerror", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
        )
        try:
            assert process.stdout is not None
            yield from _pixmaps(process.stdout)
            _check_end(process.wait(), messages)
        finally:
            process.kill()
            process.communicate()


def _check_end(status: int, messages: IO[bytes]) -> None:
    """Raise where decoding stopped early, also at the cut of a file that was cut off."""
    messages.seek(0)
    if status or b"partial file" in messages.read():
        raise FfmpegError("the clip cannot be decoded to its end")


def _pixmaps(stream: IO[bytes]) -> Iterator[NDArray[np.uint8]]:
    while stream.readline():  # "P6"
        width, height = map(int, stream.readline().split())
        stream.readline()  # "255"
        data = stream.read(width * height * 3)
        if len(data) == width * height * 3:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def decode_sound(path: Path, rate: int, channels: int, limit: float) -> NDArray[np.float32]:
    """The first sound track, float32 [channels, samples]; sample 0 stands at the start of the file's clock.

    Raises:
        FfmpegError: the file cannot be decoded.
    """
    # A track that begins late is padded, so that it stays in step with the pictures.
    command = [*_SAFE, "-t", repr(limit), "-i", _name(path), "-map", "0:a:0", "-af", "aresample=async=1:first_pts=0"]
    data = _run([*command, "-ac", str(channels), "-ar", str(rate), "-f", "f32le", "-"])
    return np.frombuffer(data, "<f4").reshape(-1, channels).T.copy()


def _metadata(text: str | None, folder: Path) -> list[str]:
    """Arguments for an extra input that carries the comment: a file, since an argument's length is limited."""
    path = folder / "metadata"
    escaped = re.sub(r"([=;#\\\n])", r"\\\1", text or "")
    path.write_text(f";FFMETADATA1\ncomment={escaped}\n" if text else ";FFMETADATA1\n", "utf-8")
    return ["-f", "ffmetadata", "-i", _name(path)]


def _sound_input(samples: NDArray[np.float32], rate: int, folder: Path) -> list[str]:
    path = folder / "sound"
    np.ascontiguousarray(samples.T, dtype="<f4").tofile(path)
    return ["-f", "f32le", "-ar", str(rate), "-ac", str(samples.shape[0]), "-i", _name(path)]


def _sound_output(samples: NDArray[np.float32], rate: int) -> list[str]:
    """AAC at a rate that the codec holds; its priming samples are skipped by the file's edit list."""
    bits = (64_000 if rate <= 24_000 else 128_000) * samples.shape[0]
    return ["-c:a", "aac", "-b:a", str(bits)]


def encode(
    frames: NDArray[np.uint8],
    fps: float,
    sound: tuple[NDArray[np.float32], int] | None,
    out: Path,
    text: str | None,
    scratch: Path,
) -> None:
    """Write an mp4: H.264 in yuv420p, AAC where there is sound.

    Args:
        frames: uint8 [frames, height, width, 3], even sides.
        fps: frames per second.
        sound: float32 [channels, samples] and its rate.
        out: the file.
        text: the comment tag.
        scratch: a folder for what is passed as files.

    Raises:
        FfmpegError: it failed (a full disk, say).
    """
    height, width = frames.shape[1:3]
    command = ["-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", repr(fps), "-i", "pipe:0"]
    command += _metadata(text, scratch)
    command += _sound_input(*sound, scratch) if sound else []
    command += ["-map", "0:v", *(("-map", "2:a") if sound else ()), "-map_metadata", "1"]
    # Small clips with hard edges: spend the bits, and say how colour was coded so that every player agrees.
    command += ["-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int"]
    command += ["-c:v", "libx264", "-preset", "medium", "-crf", "10", "-pix_fmt", "yuv420p"]
    command += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    command += _sound_output(*sound) if sound else []
    command += [*_REPEATABLE, "-movflags", "+faststart", "-f", "mp4", _name(out)]
    _run(command, data=frames.tobytes())


def copy_with_sound(
    path: Path, samples: NDArray[np.float32], rate: int, out: Path, text: str | None, scratch: Path
) -> None:
    """Write an mp4 with the picture packets of `path` as they are and a new sound track.

    Raises:
        FfmpegError: it failed.
    """
    command = ["-y", *_SAFE, "-i", _name(path), *_metadata(text, scratch), *_sound_input(samples, rate, scratch)]
    command += ["-map", "0:V:0", "-map", "2:a", "-map_metadata", "1", "-c:v", "copy", *_sound_output(samples, rate)]
    _run([*command, *_REPEATABLE, "-movflags", "+faststart", "-f", "mp4", _name(out)])
