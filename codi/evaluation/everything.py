"""`codi evaluate`: the suites of a world in one resumable run, with the oracle's ceilings, and one page at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from codi.evaluation.cells import run_cell
from codi.evaluation.engines import Engine, Oracle
from codi.evaluation.evaluate import SPECIAL, Plan, reference_samples, summarise, write
from codi.evaluation.page import render_page
from codi.evaluation.report import Summary
from codi.evaluation.strips import draw_strips
from codi.evaluation.suites import DEFAULT_COUNT, SUITES
from codi.types import InputError


@dataclass(frozen=True)
class Share:
    """How much of a suite is run.

    Attributes:
        suite: its name.
        count: samples a cell, or scenes.
        only: cells whose name contains this.
        ceiling: samples a cell of the oracle; 0 where the ceiling is 1 by itself.
    """

    suite: str
    count: int
    only: str = ""
    ceiling: int = 0


FULL: Final = (
    Share("retrieval", 512),
    *(Share(suite, DEFAULT_COUNT[suite]) for suite in ("solo", "complementary", "held-out")),
    Share("mesh", DEFAULT_COUNT["mesh"], only="looks-o", ceiling=64),
    *(Share("mesh", 64, only=name, ceiling=64) for name in ("timed", "little", "all", "cascade")),
    Share("sets", DEFAULT_COUNT["sets"], ceiling=64),
    Share("given", DEFAULT_COUNT["given"]),
    Share("parts", 64),
    Share("conflict", 16),
    Share("matrix", DEFAULT_COUNT["matrix"]),
)
QUICK: Final = (
    Share("retrieval", 64),
    Share("solo", 16),
    Share("complementary", 4),
    Share("held-out", 4),
    Share("mesh", 16, only="looks-o", ceiling=16),
    Share("conflict", 4),
    Share("matrix", 1, only="text-"),
)
"""Under five minutes on two cores: enough to see that a bundle works, not to compare two."""

WORLDS: Final[dict[str, dict[bool, tuple[Share, ...]]]] = {"sounding-shapes": {False: FULL, True: QUICK}}
Step = Callable[[str], None]


def run_everything(
    engine: Engine, world: str, out: Path, *, quick: bool = False, seed: int = 1, on_step: Step = lambda name: None
) -> Path:
    """Run all suites; what lies finished in the folder is not run again.

    Args:
        engine: what is evaluated.
        world: key of WORLDS.
        out: folder for samples, figures (JSON), tables (Markdown) and the page.
        quick: fewer samples and cells.
        seed: of prompts and noise.
        on_step: called before each piece of work with its name.

    Returns:
        The page, `out/index.html`.

    Raises:
        InputError: no such world.
    """
    summaries = {share.suite: _run(engine, share, out, seed, on_step) for share in _shares(world, quick)}
    on_step("samples")
    pictures = draw_strips(engine, out / "samples", seed)
    on_step("page")
    page = out / "index.html"
    write(page, render_page(summaries, pictures, quick=quick))
    return page


def count_steps(world: str, quick: bool) -> int:
    """How often `run_everything` calls `on_step`."""
    return 2 + sum(len(_pieces(share)) for share in _shares(world, quick))


def _shares(world: str, quick: bool) -> tuple[Share, ...]:
    if world not in WORLDS:
        raise InputError(f"--suite {world}", "is no suite", f"choose among {', '.join(WORLDS)}")
    return WORLDS[world][quick]


def _pieces(share: Share) -> list[str]:
    """Cells of the engine, then of the oracle; a suite without cells is one piece."""
    if share.suite in SPECIAL:
        return [share.suite]
    names = [cell.name for cell in SUITES[share.suite]() if share.only in cell.name]
    return names + [f"ceiling of {name}" for name in names if share.ceiling]


def _run(engine: Engine, share: Share, out: Path, seed: int, on_step: Step) -> Summary:
    plan = Plan(share.suite, share.count, seed, only=share.only, of=engine.identity, settings=engine.settings)
    if share.suite in SPECIAL:
        on_step(share.suite)
        return Summary(_special(engine, plan, out), told=plan.told)
    if share.ceiling:
        oracle = replace(plan, count=share.ceiling, of=Oracle.identity, settings=Oracle.settings)
        _cells(Oracle(), oracle, out / "ceiling", lambda name: on_step(f"ceiling of {name}"))
        plan = replace(plan, ceiling=out / "ceiling")
    return _cells(engine, plan, out, on_step)


def _cells(engine: Engine, plan: Plan, out: Path, on_step: Step) -> Summary:
    folder, reference = out / plan.suite, reference_samples(out)
    for cell in [cell for cell in SUITES[plan.suite]() if plan.only in cell.name]:
        on_step(f"{plan.suite} {cell.name}")
        run_cell(engine, cell, plan.count or DEFAULT_COUNT[plan.suite], plan.seed, folder)
    return summarise(plan, folder, reference, out)


def _special(engine: Engine, plan: Plan, out: Path) -> dict[str, Any]:
    """A suite without cells, or what it wrote before with the same settings."""
    asked, path = {"count": plan.count, "seed": plan.seed, "of": engine.identity}, out / f"{plan.suite}.json"
    stamp = out / plan.suite / "asked.json"
    if path.exists() and stamp.exists() and json.loads(stamp.read_text()) == asked:
        return dict(json.loads(path.read_text()))
    figures = SPECIAL[plan.suite](engine, plan, out)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    write(stamp, json.dumps(asked))
    return figures
