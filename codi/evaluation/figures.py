"""The figures, as pure functions of what readers found.

A figure that does not apply is NaN, and means leave NaN out.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np

from codi.worlds.events import TOLERANCE, event_f1, match_events

Factors = Mapping[str, str]


def adherence(named: Factors, found: Factors, shown: Collection[str]) -> float:
    """Share of the factors named by the inputs, and shown by the output's modality, that the reader finds.

    An omitted factor is a miss. A tempo is not owed where the inputs name a still scene.
    """
    owed = [name for name in _applicable(named) if name in shown]
    return _mean([found.get(name) == named[name] for name in owed])


def agreement(a: Factors, b: Factors, shown: Collection[str], named: Collection[str]) -> float:
    """Share of the open factors on which two outputs agree: see `agreements`."""
    return _mean(list(agreements(a, b, shown, named).values()))


def agreements(a: Factors, b: Factors, shown: Collection[str], named: Collection[str]) -> dict[str, bool]:
    """Whether two outputs agree, for each factor that both can show and that no input named.

    A factor that either side omits is a miss, but tempo is left out where either side is still.
    """
    still = "still" in (a.get("motion"), b.get("motion"))
    open_factors = [n for n in shown if n not in named and not (still and n == "tempo")]
    return {name: name in a and a.get(name) == b.get(name) for name in open_factors}


def _applicable(named: Factors) -> list[str]:
    return [name for name in named if not (name == "tempo" and named.get("motion") == "still")]


def synchrony(pairs: Sequence[tuple[np.ndarray, np.ndarray]], tolerance: float = TOLERANCE) -> dict[str, float]:
    """Mean event F1 over pairs of tracks, and the median absolute offset of matched events in milliseconds."""
    offsets = [abs(x - y) for a, b in pairs for x, y in match_events(a, b, tolerance)]
    offset = 1e3 * float(np.median(offsets)) if offsets else float("nan")
    return {"event_f1": mean([event_f1(a, b, tolerance) for a, b in pairs]), "offset_ms": offset}


def shifted(events: np.ndarray, seconds: float, duration: float = 2.0) -> np.ndarray:
    """The events `seconds` later; those that leave the clip are dropped."""
    moved = events + seconds
    return np.asarray(moved[(moved >= 0) & (moved < duration)])


def normalised(score: float, floor: float, ceiling: float) -> float:
    """(score - floor) / (ceiling - floor); NaN where ceiling and floor are equal."""
    return (score - floor) / (ceiling - floor) if ceiling != floor else float("nan")


def entropy(values: Sequence[str], choices: int) -> float:
    """Entropy of the values as a share of the largest possible, log(choices): 0 is collapsed, 1 uniform."""
    if not values or choices < 2:
        return float("nan")
    _, counts = np.unique(np.asarray(values), return_counts=True)
    p = counts / counts.sum()
    return float(-(p * np.log(p)).sum() / np.log(choices)) + 0.0


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance between the Gaussians fitted to two sets of features, [n, d] and [m, d]."""
    mean_a, mean_b = a.mean(0), b.mean(0)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The eigenvalues of the product of two covariances are real and not negative: no matrix root is needed.
    roots = np.sqrt(np.clip(np.linalg.eigvals(cov_a @ cov_b).real, 0, None))
    distance = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * roots.sum()
    return max(float(distance), 0.0)


def frechet_difference(
    a: np.ndarray, b: np.ndarray, to: np.ndarray, groups: Sequence[Hashable], rng: np.random.Generator, draws: int = 300
) -> tuple[float, float, float]:
    """How much farther a is from `to` than b is, [n, d] each, with a 95 % bootstrap interval over groups of pairs.

    Whole groups are drawn: samples of one prompt are alike in what it names.
    """
    members = [np.flatnonzero([g == group for g in groups]) for group in dict.fromkeys(groups)]

    def difference(rows: np.ndarray) -> float:
        return frechet(a[rows], to) - frechet(b[rows], to)

    picked = rng.integers(0, len(members), (draws, len(members)))
    drawn = [difference(np.concatenate([members[k] for k in row])) for row in picked]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return difference(np.arange(len(a))), float(low), float(high)


def shuffled(groups: Sequence[Hashable], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs (i, j), i != j, within the same group: a random cycle through each group of two or more."""
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    pairs = []
    for indices in members.values():
        order = [indices[int(k)] for k in rng.permutation(len(indices))]
        if len(order) > 1:
            pairs += list(zip(order, order[1:] + order[:1], strict=True))
    return pairs


def mean(values: Sequence[float]) -> float:
    """The mean of the values that apply; NaN where none does."""
    kept = [v for v in values if not np.isnan(v)]
    return float(np.mean(kept)) if kept else float("nan")


def interval(values: Sequence[float], rng: np.random.Generator, draws: int = 2000) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean."""
    kept = np.asarray([v for v in values if not np.isnan(v)])
    if len(kept) == 0:
        return float("nan"), float("nan")
    means = kept[rng.integers(0, len(kept), (draws, len(kept)))].mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def paired_difference(
    a: Sequence[float], b: Sequence[float], rng: np.random.Generator, draws: int = 2000
) -> tuple[float, float, float]:
    """Mean of a - b over pairs where both apply, with its 95 % bootstrap interval."""
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return (mean(difference.tolist()), *interval(difference.tolist(), rng, draws))


def _mean(hits: Sequence[bool]) -> float:
    return float(np.mean(hits)) if hits else float("nan")
