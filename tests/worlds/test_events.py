from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest

from codi.worlds.events import event_f1, match_events


def test_matching_is_one_to_one():
    assert len(match_events(np.array([1.0]), np.array([0.96, 1.0, 1.04]))) == 1
    assert event_f1(np.array([1.0]), np.array([0.96, 1.0, 1.04])) == 0.5


def test_half_a_frame_is_within_and_more_is_not():
    assert event_f1(np.array([0.5]), np.array([0.5625])) == 1.0
    assert event_f1(np.array([0.5]), np.array([0.5635])) == 0.0


def test_no_events_on_either_side_is_not_a_score():
    none = np.zeros(0)
    assert math.isnan(event_f1(none, none))
    assert event_f1(none, np.array([0.1])) == 0.0


@pytest.mark.parametrize("seed", range(30))
def test_no_matching_is_larger(seed):
    rng = np.random.default_rng(seed)
    a, b = (np.sort(rng.uniform(0, 0.4, rng.integers(0, 5))) for _ in range(2))
    assert len(match_events(a, b)) == largest(a, b)


def largest(a, b):
    """The largest matching by trying all."""
    for size in range(min(len(a), len(b)), 0, -1):
        for left in combinations(range(len(a)), size):
            if any(
                all(abs(a[i] - b[j]) <= 0.0625 for i, j in zip(left, r, strict=True))
                for r in permutations(range(len(b)), size)
            ):
                return size
    return 0
