"""Media that tests are fed with: made here, never read from elsewhere."""

from __future__ import annotations

import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np

from codi import ffmpeg
from codi.media import Audio, Image, Video

CLICKS = (0.0, 0.25, 0.8, 1.4, 1.9)


def picture(height: int = 48, width: int = 64) -> Image:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5 % 256, columns * 3 % 256, (rows + columns) % 256], -1).astype(np.uint8)


def clicks(rate: int = 16_000, seconds: float = 2.0, channels: int = 1) -> Audio:
    """Decaying tones that start at CLICKS."""
    samples = np.zeros(int(rate * seconds), np.float32)
    time = np.arange(rate // 10) / rate
    tone = (0.7 * np.exp(-time / 0.02) * np.sin(2 * np.pi * 880 * time)).astype(np.float32)
    for second in CLICKS:
        start = int(second * rate)
        room = samples[start : start + tone.size]
        room += tone[: room.size]
    return Audio(np.repeat(samples[None], channels, 0), rate)


def clip(frames: int = 16, fps: float = 8.0, audio: Audio | None = None) -> Video:
    """A red square that slides to the right by 3 pixels a frame."""
    pixels = np.full((frames, 64, 64, 3), 230, np.uint8)
    for index in range(frames):
        pixels[index, 20:36, 3 * index % 48 : 3 * index % 48 + 16] = (200, 30, 30)
    return Video(pixels, fps, audio)


def ffmpeg_file(path: Path, *arguments: str) -> Path:
    subprocess.run([ffmpeg.program(), "-y", "-loglevel", "error", *arguments, str(path)], check=True)
    return path


def test_card(size: str = "96x64", fps: str = "30000/1001", seconds: str = "1") -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={fps}:d={seconds}"]


def tone(seconds: str = "1", rate: str = "44100") -> list[str]:
    return ["-f", "lavfi", "-i", f"sine=d={seconds}:r={rate}"]


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def long_wav(path: Path, seconds: int) -> Path:
    """A WAV of silence that takes no room on the disk: a header and a hole."""
    rate, size = 8_000, 8_000 * 2 * seconds
    header = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16) + b"data" + struct.pack("<I", size)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    return path
