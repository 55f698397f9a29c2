"""The comparison as tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codi.evaluation.figures import mean


@dataclass(frozen=True)
class Row:
    """One setting of one arm, over its seeds.

    Attributes:
        arm: its title.
        setting: empty for what the arm is measured at first.
        seeds: figures of each seed, as `codi.evaluation.scores.score` gives them.
        parameters: trained for it.
        cpu_seconds: spent on its training.
        given: modalities that stood and were not made.
    """

    arm: str
    setting: str
    seeds: Sequence[Mapping[str, Any]]
    parameters: int = 0
    cpu_seconds: float = 0.0
    given: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Of the arm and its setting."""
        return f"{self.arm}, {self.setting}" if self.setting else self.arm

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
ONE_AFTER_OTHER, GIVEN = "clip first, then its sound", "given clip"
SUMMARY = ("arm", "together: event F1 (95 %)", ONE_AFTER_OTHER, "to a given clip")
SUMMARY_REST = ("colour agrees", "tempo agrees", "clip obeys", "seeds x samples", "trained, M", "CPU-min")


def table(rows: Sequence[Row]) -> str:
    """Markdown of every setting, in the order given."""
    return _markdown((*HEAD, *HEAD_REST), map(_cells, rows))


def summary(rows: Sequence[Row]) -> str:
    """Markdown of one line an arm, in the order given: clip and sound together, one after the other, and to a given."""
    return _markdown((*SUMMARY, *SUMMARY_REST), (_line(row, beside(row, rows)) for row in rows if not row.setting))


def beside(row: Row, rows: Sequence[Row]) -> dict[str, float]:
    """Event F1 of the other settings of an arm, by setting."""
    return {other.setting: mean(other.synchrony()) for other in rows if other.arm == row.arm and other.setting}


def _markdown(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *lines)) + "\n"


def _line(row: Row, others: Mapping[str, float]) -> tuple[str, ...]:
    after, to_given = (_number(others.get(setting, math.nan)) for setting in (ONE_AFTER_OTHER, GIVEN))
    _, spread, _, _, colour, tempo, clip, _, count, size, spent = _cells(row)
    return row.arm, spread, after, to_given, colour, tempo, clip, count, size, spent


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
    """A line an arm: event F1 together, one after the other and to a given clip, its floor; agreement on colour."""
    import matplotlib.pyplot as plt
    import numpy as np

    arms = [row for row in rows if not row.setting]
    places = np.arange(len(arms))[::-1]
    figure, axes = plt.subplots(
        1, 2, figsize=(10, 0.36 * len(arms) + 1.4), sharey=True, layout="constrained", width_ratios=(2, 1)
    )
    for axis, values, title in (
        (axes[0], [row.synchrony() for row in arms], "event F1, within half a frame"),
        (axes[1], [row.agreement() for row in arms], "colour and pitch agree"),
    ):
        axis.barh(places, [mean(v) for v in values], color="#4c78a8", height=0.7, label="together")
        for place, seeds in zip(places, values, strict=True):
            axis.plot(seeds, [place] * len(seeds), "k.", markersize=4)
        axis.set(title=title, xlim=(0, 1), yticks=places, yticklabels=[row.arm for row in arms])
    others = [beside(row, rows) for row in arms]
    for setting, mark, label in ((ONE_AFTER_OTHER, ">", ONE_AFTER_OTHER), (GIVEN, "o", "to a given clip")):
        found = [other.get(setting, math.nan) for other in others]
        axes[0].plot(found, places, mark, color="#f58518", markersize=6, label=label)
    floors = [mean(row.synchrony("floor")) for row in arms]
    axes[0].plot(floors, places, "|", color="#e45756", markersize=12, label="shuffled pairs of the same tempo")
    axes[1].axvline(1 / 6, color="#e45756", linewidth=1, label="chance")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    axes[1].legend(handles=axes[1].get_lines()[-1:], loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
