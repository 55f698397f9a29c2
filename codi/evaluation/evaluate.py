"""Runs a suite on an engine and writes its samples, figures and a report."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from codi.evaluation.cells import Cell, Sample, load_samples, run_cell, sampled, save_samples
from codi.evaluation.conflict import score_conflicts
from codi.evaluation.engines import Engine
from codi.evaluation.faces import FACES
from codi.evaluation.parts import score_parts
from codi.evaluation.report import Summary, render_report
from codi.evaluation.retrieval import render_retrieval, score_retrieval
from codi.evaluation.scores import compare, reference_features, score
from codi.evaluation.suites import COMPARED, DEFAULT_COUNT, MODALITIES, SUITES
from codi.types import InputError
from codi.worlds.sounding_shapes.scene import sample_scene

REFERENCES = 512
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        suite: key of SUITES, or of SPECIAL.
        count: samples for each cell; None takes the suite's own number.
        seed: of prompts and noise.
        part, parts: run every `parts`-th cell from `part` on, to share a suite among processes.
        only: cells whose name contains this text.
        ceiling: folder of the oracle's figures, which the report then normalises by; without it by 1.
        of: identity of the engine whose samples count; "" for all that lie in the folder.
        settings: of the engine, in words.
    """

    suite: str
    count: int | None = None
    seed: int = 1
    part: int = 0
    parts: int = 1
    only: str = ""
    ceiling: Path | None = None
    of: str = ""
    settings: str = ""

    @property
    def told(self) -> str:
        """What the figures are of, for the reports."""
        return f"{self.settings}; seed {self.seed}" if self.settings else ""


def evaluate(engine: Engine, plan: Plan, out: Path) -> dict[str, Any]:
    """Runs a suite; cells that were run before with the same settings are not run again.

    Args:
        engine: what is evaluated.
        plan: which suite and how much of it.
        out: folder; samples go to `out/<suite>/`, figures to `out/<suite>.json`, the report to `out/<suite>.md`.

    Returns:
        The figures of each cell that has been sampled so far, by name.

    Raises:
        InputError: no such suite, or no cell of that name.
    """
    if plan.suite in SPECIAL:
        return SPECIAL[plan.suite](engine, plan, out)
    cells, plan = _chosen(plan), replace(plan, of=engine.identity, settings=engine.settings)
    folder = out / plan.suite
    reference = reference_samples(out)
    for n, cell in enumerate(cells):
        if n % plan.parts == plan.part:
            samples = run_cell(engine, cell, plan.count or DEFAULT_COUNT[plan.suite], plan.seed, folder)
            log.info("%s %d/%d %s: %d samples", plan.suite, n + 1, len(cells), cell.name, len(samples))
    return dict(summarise(plan, folder, reference, out).figures)


def _chosen(plan: Plan) -> list[Cell]:
    if plan.suite not in SUITES:
        raise InputError("suite", f"no {plan.suite!r}", f"use one of {', '.join([*SUITES, *SPECIAL])}")
    cells = [cell for cell in SUITES[plan.suite]() if plan.only in cell.name]
    if not cells:
        raise InputError("only", f"no cell's name contains {plan.only!r}", "leave it out to run them all")
    return cells


def summarise(plan: Plan, folder: Path, reference: Mapping[str, np.ndarray], out: Path) -> Summary:
    """Scores every cell of the suite that lies in the folder; writes figures and report."""
    cells = [cell for cell in SUITES[plan.suite]() if sampled(folder / f"{cell.name}.json", plan.of)]
    samples = {cell.name: load_samples(folder / f"{cell.name}.json") for cell in cells}
    figures = {cell.name: {"inputs": cell.inputs} | score(samples[cell.name], reference, cell.clip) for cell in cells}
    compared = [(a, b) for a, b in COMPARED.get(plan.suite, ()) if a in samples and b in samples]
    differences = {f"{a} minus {b}": compare(samples[a], samples[b], reference) for a, b in compared}
    summary = Summary(figures, _ceilings(plan), differences, plan.told)
    write(out / f"{plan.suite}.json", json.dumps(figures, indent=1))
    write(out / f"{plan.suite}.md", render_report(plan.suite, summary))
    return summary


def _ceilings(plan: Plan) -> dict[str, Any]:
    """The oracle's figures of the same suite, or none."""
    if plan.ceiling is None:
        return {}
    path = plan.ceiling / f"{plan.suite}.json"
    if not path.exists():
        raise InputError("ceiling", f"{path} is not there", "run the suite with the oracle first")
    ceilings = dict(json.loads(path.read_text()))
    # An oracle with its bridges off meshes no better than others: what is compared has one ceiling.
    return ceilings | {b: ceilings[a] for a, b in COMPARED.get(plan.suite, ()) if a in ceilings}


def reference_samples(out: Path) -> dict[str, np.ndarray]:
    """Features of 512 fresh renders per modality, kept in the folder for later runs."""
    path = out / "reference.json"
    if not path.exists():
        rng = np.random.default_rng(77)
        scenes = [sample_scene(rng) for _ in range(REFERENCES)]
        readings = {m: FACES[m].read([FACES[m].show(s, rng) for s in scenes]) for m in MODALITIES}
        samples = [Sample(n, s.factors, {m: readings[m][n] for m in MODALITIES}) for n, s in enumerate(scenes)]
        save_samples(path, samples, {})
    loaded = load_samples(path)
    return reference_features({m: [s.readings[m] for s in loaded] for m in MODALITIES})


def _conflicts(engine: Engine, plan: Plan, out: Path) -> dict[str, Any]:
    rows = score_conflicts(engine, ("image", "audio", "video", "text"), plan.count or 16, plan.seed)
    return _written("conflict", rows, out)


def _parts(engine: Engine, plan: Plan, out: Path) -> dict[str, Any]:
    return _written("parts", score_parts(engine, plan.count or 64, plan.seed), out)


def _retrieval(engine: Engine, plan: Plan, out: Path) -> dict[str, Any]:
    rows = score_retrieval(engine, plan.count or 512, plan.seed)
    figures = _written("retrieval", rows, out)
    write(out / "retrieval.md", render_retrieval(rows))
    return figures


def _written(suite: str, rows: list[dict[str, Any]], out: Path) -> dict[str, Any]:
    """The figures of a suite without cells, written to the folder."""
    out.mkdir(parents=True, exist_ok=True)
    figures = {suite: rows}
    write(out / f"{suite}.json", json.dumps(figures, indent=1))
    return figures


SPECIAL: Final[dict[str, Callable[[Engine, Plan, Path], dict[str, Any]]]] = {
    "conflict": _conflicts,
    "parts": _parts,
    "retrieval": _retrieval,
}
"""Suites that are not made of cells."""


def write(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
