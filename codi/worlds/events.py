"""Matching of event times."""

from __future__ import annotations

from typing import Final

import numpy as np

TOLERANCE: Final = 0.0625
"""Half a frame at 8 frames a second, in seconds."""


def match_events(a: np.ndarray, b: np.ndarray, tolerance: float = TOLERANCE) -> list[tuple[float, float]]:
    """Pairs of events at most `tolerance` seconds apart, each event in one pair at most, as many as can be.

    Both are ascending times in seconds. Walking both from the left and pairing the first that fit gives the
    largest matching, since every event accepts an interval of equal width.
    """
    pairs, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= tolerance + 1e-9:
            pairs.append((float(a[i]), float(b[j])))
            i, j = i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return pairs


def event_f1(a: np.ndarray, b: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """F1 of one-to-one matched events, 0 to 1; NaN where neither side has any."""
    if len(a) + len(b) == 0:
        return float("nan")
    return 2 * len(match_events(a, b, tolerance)) / (len(a) + len(b))
