"""The factors of a scene, what each modality shows of them, and the constants of a clip."""

from __future__ import annotations

from typing import Final

FPS: Final = 8.0
FRAMES: Final = 16
SIDE: Final = 64
RATE: Final = 16_000
SAMPLES: Final = 32_000

SHAPES: Final = ("circle", "square", "triangle", "star", "heart", "diamond")
COLOURS: Final = ("red", "orange", "yellow", "green", "blue", "purple")
SIZES: Final = ("small", "large")
MOTIONS: Final = ("bounce", "slide", "pulse", "still")
TEMPI: Final = ("slow", "medium", "fast")

FACTORS: Final[dict[str, tuple[str, ...]]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "size": SIZES,
    "motion": MOTIONS,
    "tempo": TEMPI,
}

SHOWN: Final[dict[str, tuple[str, ...]]] = {
    "text": tuple(FACTORS),
    "image": ("shape", "colour", "size"),
    "audio": tuple(FACTORS),
    "video": tuple(FACTORS),
}
"""The factors that each modality can show. A still scene has no tempo in any of them."""

INTERVALS: Final[dict[str, tuple[int, int]]] = {"slow": (8, 9), "medium": (6, 7), "fast": (4, 5)}
"""Shortest and longest interval between events, in frames, both included."""

HELD_OUT: Final[frozenset[tuple[str, str]]] = frozenset(
    {
        ("circle", "purple"),
        ("square", "yellow"),
        ("triangle", "blue"),
        ("star", "green"),
        ("heart", "orange"),
        ("diamond", "red"),
    }
)
"""(shape, colour) pairs kept from all training: each shape once, each colour once."""
