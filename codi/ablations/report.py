"""The comparison as tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codi.evaluation.figures import mean


@dataclass(frozen=True)
class Row:
    """One setting of one arm, over its seeds.

    Attributes:
        title: of the arm and its setting.
        seeds: figures of each seed, as `codi.evaluation.scores.score` gives them.
        parameters: trained for it.
        cpu_seconds: spent on its training.
        given: modalities that stood and were not made.
    """

    title: str
    seeds: Sequence[Mapping[str, Any]]
    parameters: int = 0
    cpu_seconds: float = 0.0
    given: tuple[str, ...] = ()

    def synchrony(self, key: str = "mean") -> list[float]:
        """Event F1 of each seed, or another of its figures."""
        return [float(next(iter(f["synchrony"].values()))[key]) for f in self.seeds]

    def agreement(self, factor: str = "colour") -> list[float]:
        """Agreement of clip and sound on a factor that the prompt leaves open, by seed."""
        return [float(next(iter(f["agreement"].values()))["factors"][factor]) for f in self.seeds]

    def adherence(self, modality: str) -> list[float]:
        """Adherence to the prompt, by seed; NaN where the modality was given."""
        return [math.nan if modality in self.given else float(f["adherence"][modality]["mean"]) for f in self.seeds]


HEAD = ("arm", "event F1 (95 %)", "shuffled", "1 frame late", "colour agrees", "tempo agrees", "clip obeys")
HEAD_REST = ("sound obeys", "seeds x samples", "trained, M", "CPU-min")


def table(rows: Sequence[Row]) -> str:
    """Markdown, the rows in the order given."""
    lines = [(*HEAD, *HEAD_REST), ("---",) * (len(HEAD) + len(HEAD_REST)), *map(_cells, rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.title,
        _spread(row),
        _number(mean(row.synchrony("floor"))),
        _number(mean(row.synchrony("shift_1"))),
        _number(mean(row.agreement())),
        _number(mean(row.agreement("tempo"))),
        _number(mean(row.adherence("video"))),
        _number(mean(row.adherence("audio"))),
        f"{len(row.seeds)} x {row.seeds[0]['samples']}",
        f"{row.parameters / 1e6:.1f}" if row.parameters else "",
        f"{row.cpu_seconds / 60:.1f}" if row.cpu_seconds else "",
    )


def _spread(row: Row) -> str:
    """The mean, with its interval where there is one seed, with each seed's where there are several."""
    values = row.synchrony()
    if len(values) > 1:
        return f"**{mean(values):.3f}** ({', '.join(f'{v:.2f}' for v in values)})"
    return f"**{values[0]:.3f}** ({row.synchrony('low')[0]:.2f} to {row.synchrony('high')[0]:.2f})"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Bars of event F1 with the floor of shuffled pairs, and of agreement on colour."""
    import matplotlib.pyplot as plt
    import numpy as np

    places = np.arange(len(rows))[::-1]
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.36 * len(rows) + 1), sharey=True, layout="constrained")
    for axis, values, title in (
        (axes[0], [row.synchrony() for row in rows], "event F1, within half a frame"),
        (axes[1], [row.agreement() for row in rows], "agreement on colour and pitch"),
    ):
        axis.barh(places, [mean(v) for v in values], color="#4c78a8", height=0.7)
        for place, seeds in zip(places, values, strict=True):
            axis.plot(seeds, [place] * len(seeds), "k.", markersize=4)
        axis.set(title=title, xlim=(0, 1), yticks=places, yticklabels=[row.title for row in rows])
    floors = [mean(row.synchrony("floor")) for row in rows]
    axes[0].plot(floors, places, "|", color="#e45756", markersize=12, label="shuffled pairs of the same tempo")
    axes[1].axvline(1 / 6, color="#e45756", linewidth=1, label="chance")
    for axis in axes:
        axis.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
