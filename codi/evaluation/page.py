"""The page of an evaluation: one HTML file that needs nothing beside it."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from codi.evaluation.figures import mean
from codi.evaluation.report import Summary, Table, tables
from codi.evaluation.strips import Strip
from codi.evaluation.suites import MODALITIES

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
td, th { border: 1px solid #ddd; padding: 2px 7px; text-align: right }
td:first-child, th:first-child { text-align: left; white-space: nowrap }
.heat td { min-width: 3em; text-align: center; border: 0 }
figure { margin: 1em 0 } figure img { max-width: 100%; image-rendering: pixelated }
figcaption { color: #555; font-size: 13px } summary { cursor: pointer; font-weight: 600 }
"""


def render_page(summaries: Mapping[str, Summary], strips: Sequence[Strip], *, quick: bool = False) -> str:
    """HTML of the figures of all suites, by name, and of some samples."""
    note = "<p>A quick run: too few samples to compare two models by.</p>" if quick else ""
    told = "".join(f"<p>{html.escape(line)}</p>" for line in {summary.told for summary in summaries.values()} if line)
    parts = ["<h1>Evaluation</h1>", told, note, _samples(strips)]
    if "matrix" in summaries:
        matrix = heat_map(summaries["matrix"].figures)
        parts += ["<h2>The matrix: inputs down, outputs across, mean adherence</h2>", matrix]
    for suite, summary in summaries.items():
        rows = isinstance(next(iter(summary.figures.values())), list)
        found = _special(summary.figures) if rows else tables(summary)
        opened = "" if suite == "matrix" else " open"
        body = "".join(f"<h3>{html.escape(title)}</h3>{_table(head, rows)}" for title, head, rows in found)
        parts.append(f"<details{opened}><summary>{html.escape(suite)}</summary>{body}</details>")
    head = f"<meta charset='utf-8'><title>codi: evaluation</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def heat_map(figures: Mapping[str, Any]) -> str:
    """A table of 15 x 15 cells, coloured by adherence from 0.5 (red) to 1 (green); empty where none was run."""
    sets = ["+".join(names) for count in range(1, 5) for names in combinations(MODALITIES, count)]
    rows = [f"<tr><th></th>{''.join(f'<th>{_short(name)}</th>' for name in sets)}</tr>"]
    for inputs in sets:
        cells = "".join(_cell(figures.get(f"{inputs}-{outputs}")) for outputs in sets)
        rows.append(f"<tr><th>{inputs}</th>{cells}</tr>")
    return f"<table class='heat'>{''.join(rows)}</table>"


def _short(name: str) -> str:
    return "+".join(part[0].upper() for part in name.split("+"))


def _cell(figures: Mapping[str, Any] | None) -> str:
    value = math.nan if figures is None else mean([a["mean"] for a in figures["adherence"].values()])
    if math.isnan(value):
        return "<td></td>"
    hue = round(120 * min(max(2 * value - 1, 0), 1))
    return f"<td style='background: hsl({hue} 65% 72%)'>{value:.2f}</td>"


def _samples(strips: Sequence[Strip]) -> str:
    figures = "".join(
        f"<figure><img src='{strip.source}' alt=''><figcaption><b>{html.escape(strip.prompt)}</b>, {strip.setting}:"
        f" {html.escape(strip.caption)}</figcaption></figure>"
        for strip in strips
    )
    told = "Frames, events seen (red) and heard (blue), spectrogram; on the right the picture. Below, the caption made."
    return f"<h2>Samples</h2><p>{told}</p>{figures}"


def _special(figures: Mapping[str, Any]) -> list[Table]:
    """The rows of a suite without cells as one table."""
    found = []
    for title, rows in figures.items():
        head = list(rows[0])
        found.append((title, head, [[_text(row[name]) for name in head] for row in rows]))
    return found


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
