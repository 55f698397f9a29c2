"""The figures of a cell's samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, Final

import numpy as np

from codi.evaluation.cells import Sample
from codi.evaluation.figures import (
    adherence,
    agreement,
    agreements,
    entropy,
    frechet,
    frechet_difference,
    interval,
    mean,
    paired_difference,
    shifted,
    shuffled,
    synchrony,
)
from codi.types import ClipSpec
from codi.worlds.events import event_f1
from codi.worlds.sounding_shapes.factors import FACTORS, SHOWN
from codi.worlds.sounding_shapes.readers import Reading

Figures = dict[str, Any]

TIMED: Final = frozenset({"audio", "video"})
"""Modalities that show when events happen."""
AS_TRAINED: Final = ClipSpec()


def score(
    samples: Sequence[Sample], reference: Mapping[str, np.ndarray] | None = None, clip: ClipSpec = AS_TRAINED
) -> Figures:
    """All figures that apply to the samples of one cell.

    Args:
        samples: of one cell.
        reference: features of fresh renders per modality, for the Frechet distance.
        clip: length and rate of the clips.
    """
    outputs = list(samples[0].readings)
    pairs = list(combinations(outputs, 2))
    figures: Figures = {"samples": len(samples)}
    figures["adherence"] = {m: _adherence(samples, m) for m in outputs}
    figures["agreement"] = {f"{a}-{b}": _agreement(samples, a, b) for a, b in pairs}
    figures["synchrony"] = {f"{a}-{b}": _synchrony(samples, a, b, clip) for a, b in pairs if _timed(a, b)}
    figures["entropy"] = {m: _entropies(samples, m) for m in outputs}
    if reference is not None and len(samples) > 1:
        figures["frechet"] = {m: frechet(_features(samples, m), reference[m]) for m in outputs}
    return figures


def adherences(samples: Sequence[Sample], modality: str) -> list[float]:
    """Adherence of one output, sample by sample."""
    return [adherence(s.named, s.readings[modality].factors, SHOWN[modality]) for s in samples]


def sample_agreements(samples: Sequence[Sample], a: str, b: str) -> list[float]:
    """Agreement of two outputs, sample by sample."""
    shown = _both(a, b)
    return [agreement(s.readings[a].factors, s.readings[b].factors, shown, s.named) for s in samples]


def sample_f1(samples: Sequence[Sample], a: str, b: str) -> list[float]:
    """Event F1 of two outputs, sample by sample."""
    return [event_f1(s.readings[a].moving_events, s.readings[b].moving_events) for s in samples]


def compare(
    first: Sequence[Sample], second: Sequence[Sample], reference: Mapping[str, np.ndarray] | None = None
) -> Figures:
    """First minus second, sample by sample: mean, low, high; of two lengths, as many as both have.

    Agreement and event F1 of each pair of outputs, adherence of each output, and its Frechet distance to `reference`.
    """
    pairs = list(combinations(first[0].readings, 2))
    scores = {f"agreement {a}-{b}": partial(sample_agreements, a=a, b=b) for a, b in pairs}
    scores |= {f"event F1 {a}-{b}": partial(sample_f1, a=a, b=b) for a, b in pairs if _timed(a, b)}
    scores |= {f"adherence {m}": partial(adherences, modality=m) for m in first[0].readings}
    rng, both = np.random.default_rng(0), list(zip(first, second, strict=False))
    ours, theirs = [a for a, _ in both], [b for _, b in both]
    figures: Figures = {name: paired_difference(of(ours), of(theirs), rng) for name, of in scores.items()}
    groups = [s.group for s in ours]
    for modality, renders in (reference or {}).items():
        if modality in first[0].readings:
            features = _features(ours, modality), _features(theirs, modality)
            figures[f"Frechet distance {modality}"] = frechet_difference(*features, renders, groups, rng)
    return figures


def _timed(a: str, b: str) -> bool:
    """Whether both show events: an image and a text have no times."""
    return a in TIMED and b in TIMED


def _adherence(samples: Sequence[Sample], modality: str) -> Figures:
    values = adherences(samples, modality)
    owed = [n for n in FACTORS if n in SHOWN[modality]]
    found = [(s.named, s.readings[modality].factors) for s in samples]
    factors = {n: mean([adherence({n: w[n]}, f, owed) for w, f in found if n in w]) for n in owed}
    return _with_interval(values) | {"factors": factors}


def _agreement(samples: Sequence[Sample], a: str, b: str) -> Figures:
    """Raw agreement, that of each factor, and the floor of shuffled pairs."""
    rows = [agreements(s.readings[a].factors, s.readings[b].factors, _both(a, b), s.named) for s in samples]
    factors = {n: mean([float(row[n]) for row in rows if n in row]) for n in _both(a, b)}
    figures = _with_interval(sample_agreements(samples, a, b))
    crossed = [_crossed(samples, a, b, i, j) for i, j in _shuffles(samples, a)]
    return figures | {"factors": factors, "floor": mean(sample_agreements(crossed, a, b))}


def _synchrony(samples: Sequence[Sample], a: str, b: str, clip: ClipSpec) -> Figures:
    """Raw synchrony, each tempo's, and its controls: shuffled pairs, and one side 1 and 2 frames late.

    Within half a frame of 8 a second; `half_frame` within half a frame of the clip, whatever its rate.
    """
    tracks = [_tracks(s, a, b) for s in samples]
    crossed = [_tracks(_crossed(samples, a, b, i, j), a, b) for i, j in _shuffles(samples, a)]
    tempi = {t: [_tracks(s, a, b) for s in samples if _tempo(s, a) == t] for t in FACTORS["tempo"]}
    late = {f"shift_{n}": [(x, shifted(y, n / clip.fps, clip.duration)) for x, y in tracks] for n in (1, 2)}
    figures: Figures = {**synchrony(tracks), **_with_interval(sample_f1(samples, a, b))}
    figures["floor"] = synchrony(crossed)["event_f1"]
    figures["half_frame"] = synchrony(tracks, 0.5 / clip.fps)["event_f1"]
    figures["tempi"] = {t: synchrony(of_tempo)["event_f1"] for t, of_tempo in tempi.items()}
    return figures | {name: synchrony(moved)["event_f1"] for name, moved in late.items()}


def _shuffles(samples: Sequence[Sample], a: str) -> list[tuple[int, int]]:
    """Pairs of samples with the same prompt and the same tempo, as output `a` shows it; several rounds."""
    rng = np.random.default_rng(0)
    groups = [(s.group, _tempo(s, a)) for s in samples]
    return [pair for _ in range(4) for pair in shuffled(groups, rng)]


def _crossed(samples: Sequence[Sample], a: str, b: str, i: int, j: int) -> Sample:
    """Output a of sample i beside output b of sample j."""
    return Sample(samples[i].group, samples[i].named, {a: samples[i].readings[a], b: samples[j].readings[b]})


def _entropies(samples: Sequence[Sample], modality: str) -> dict[str, float]:
    """Entropy of each factor over the samples whose inputs left it open."""
    left_open = {n: [s.readings[modality].factors.get(n) for s in samples if n not in s.named] for n in SHOWN[modality]}
    return {n: entropy([v for v in values if v is not None], len(FACTORS[n])) for n, values in left_open.items()}


def _tracks(sample: Sample, a: str, b: str) -> tuple[np.ndarray, np.ndarray]:
    return sample.readings[a].moving_events, sample.readings[b].moving_events


def _tempo(sample: Sample, modality: str) -> str | None:
    return sample.readings[modality].factors.get("tempo")


def _both(a: str, b: str) -> list[str]:
    return [n for n in FACTORS if n in SHOWN[a] and n in SHOWN[b]]


def _features(samples: Sequence[Sample], modality: str) -> np.ndarray:
    return np.stack([s.readings[modality].features for s in samples]).astype(np.float64)


def _with_interval(values: Sequence[float]) -> Figures:
    low, high = interval(values, np.random.default_rng(0))
    return {"mean": mean(values), "low": low, "high": high}


def reference_features(readings: Mapping[str, Sequence[Reading]]) -> dict[str, np.ndarray]:
    """Features of fresh renders: float64 [n, d] per modality."""
    return {m: np.stack([r.features for r in rs]).astype(np.float64) for m, rs in readings.items()}
