"""Reports of a suite's figures, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from codi.evaluation.figures import mean, normalised
from codi.evaluation.suites import TRAINED_PROMPTS
from codi.worlds.sounding_shapes.factors import FACTORS

Figures = Mapping[str, Any]


Table = tuple[str, list[str], list[list[str]]]
"""A title, the heads of the columns, and rows."""


@dataclass(frozen=True)
class Summary:
    """What a suite's report shows.

    Attributes:
        figures: by cell.
        ceilings: the oracle's figures by cell, to normalise by; 1 where there are none.
        differences: paired differences by pair of cells.
        told: which bundle and settings they are of.
    """

    figures: Mapping[str, Figures]
    ceilings: Mapping[str, Figures] = field(default_factory=dict)
    differences: Mapping[str, Figures] = field(default_factory=dict)
    told: str = ""


def tables(summary: Summary) -> list[Table]:
    """One table for each kind of figure that there is; the worst cells come first, the mean last."""
    figures, most = summary.figures, summary.ceilings
    found = [_adherence(figures), _zero_shot(figures), _agreement(figures, most), _synchrony(figures, most)]
    found += [_differences(summary.differences), _fidelity(figures)]
    return [table for table in found if table[2]]


def render_report(suite: str, summary: Summary) -> str:
    """The tables of a suite as a page of Markdown."""
    parts = [f"# {suite}", *([summary.told] if summary.told else [])]
    for title, head, rows in tables(summary):
        lines = [head, ["---"] * len(head), *rows]
        parts.append(f"## {title}\n\n" + "\n".join("| " + " | ".join(cells) + " |" for cells in lines))
    return "\n\n".join(parts) + "\n"


def _adherence(figures: Mapping[str, Figures]) -> Table:
    rows = [
        (
            a["mean"],
            [cell, output, str(f["samples"]), _with_interval(a), *(_number(a["factors"].get(n)) for n in FACTORS)],
        )
        for cell, f in figures.items()
        for output, a in f["adherence"].items()
        if not math.isnan(a["mean"])
    ]
    head = ["cell", "output", "samples", "adherence (95 %)", *FACTORS]
    return _section("Adherence: share of the factors that the inputs name and the output shows", head, rows)


def _zero_shot(figures: Mapping[str, Figures]) -> Table:
    """Cells whose inputs the denoisers were trained with as prompts, apart from those that the shared space gives."""
    kinds: dict[str, list[float]] = {}
    for f in figures.values():
        strange = set(f.get("inputs", ())) - set(TRAINED_PROMPTS)
        kind = "trained" if not strange else "zero-shot" if strange == set(f["inputs"]) else "both among the inputs"
        kinds.setdefault(kind, []).append(mean([a["mean"] for a in f["adherence"].values()]))
    rows = [[kind, str(len(values)), _number(mean(values)), _number(min(values))] for kind, values in kinds.items()]
    head = ["inputs as prompts", "cells", "mean adherence", "worst"]
    return "Zero-shot: inputs that the denoisers were not trained with as prompts", head, rows if len(rows) > 1 else []


def _agreement(figures: Mapping[str, Figures], ceilings: Mapping[str, Figures]) -> Table:
    rows = [
        (
            a["mean"],
            [
                cell,
                pair,
                _with_interval(a),
                _number(a["floor"]),
                _normal(a, ceilings.get(cell, {}).get("agreement", {}).get(pair)),
                *(_number(a["factors"].get(n)) for n in FACTORS),
            ],
        )
        for cell, f in figures.items()
        for pair, a in f["agreement"].items()
        if not math.isnan(a["mean"])
    ]
    head = ["cell", "pair", "agreement (95 %)", "shuffled", "normalised", *FACTORS]
    return _section("Agreement: share of the factors that the inputs leave open", head, rows)


def _synchrony(figures: Mapping[str, Figures], ceilings: Mapping[str, Figures]) -> Table:
    found = [
        (cell, pair, s)
        for cell, f in figures.items()
        for pair, s in f["synchrony"].items()
        if not math.isnan(s["mean"])
    ]
    # Half a frame is the same for all unless a clip has another rate.
    own = any(s.get("half_frame", s["mean"]) != s["mean"] for _, _, s in found)
    rows = [
        (
            s["mean"],
            [
                cell,
                pair,
                _with_interval(s),
                *([_number(s["half_frame"])] if own else []),
                _number(s["floor"]),
                _normal(s, ceilings.get(cell, {}).get("synchrony", {}).get(pair)),
                _number(s["offset_ms"]),
                *(_number(v) for v in s["tempi"].values()),
                _number(s["shift_1"]),
                _number(s["shift_2"]),
            ],
        )
        for cell, pair, s in found
    ]
    head = ["cell", "pair", "event F1 (95 %)", *(["within half a frame of the clip"] if own else []), "shuffled"]
    head += ["normalised", "offset, ms", *FACTORS["tempo"], "1 frame late", "2 frames late"]
    return _section("Synchrony: one-to-one matched events within half a frame", head, rows)


def _differences(differences: Mapping[str, Figures]) -> Table:
    rows = [
        (0.0, [cells, name, *(_number(v) for v in values)])
        for cells, figures in differences.items()
        for name, values in figures.items()
        if not math.isnan(values[0])
    ]
    head = ["cells", "figure", "difference", "95 % from", "to"]
    return _section("Paired differences: the same prompts and seeds", head, rows, with_mean=False)


def _fidelity(figures: Mapping[str, Figures]) -> Table:
    rows = [
        (0.0, [cell, output, _number(f.get("frechet", {}).get(output)), *(_number(e.get(n)) for n in FACTORS)])
        for cell, f in figures.items()
        for output, e in f["entropy"].items()
    ]
    head = ["cell", "output", "Frechet distance", *(f"entropy of {n}" for n in FACTORS)]
    return _section("Fidelity and diversity (entropy of open factors, 1 is uniform)", head, rows, with_mean=False)


def _section(title: str, head: list[str], rows: list[tuple[float, list[str]]], with_mean: bool = True) -> Table:
    ordered = [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    if with_mean and rows:
        last = [f"mean over {len(rows)} rows", *[""] * (len(head) - 1)]
        last[next(n for n, name in enumerate(head) if "(95 %)" in name)] = f"{mean([value for value, _ in rows]):.3f}"
        ordered.append(last)
    return title, head, ordered


def _with_interval(figure: Figures) -> str:
    return f"{figure['mean']:.3f} ({figure['low']:.2f} to {figure['high']:.2f})"


def _normal(figure: Figures, ceiling: Figures | None) -> str:
    """Between the shuffled floor and the oracle's ceiling, or 1 where that is not known."""
    return _number(normalised(figure["mean"], figure["floor"], ceiling["mean"] if ceiling else 1.0))


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"
