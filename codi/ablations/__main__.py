"""Compares bridges with every alternative: `python -m codi.ablations --out DIR [--arms NAME ...] [--count N]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from codi.ablations.arms import Arm, build, load_arms
from codi.ablations.measure import Prototype, measure
from codi.ablations.report import Row, draw, table
from codi.ablations.training import Scenes, expert, joined
from codi.pipeline import CoDiPipeline
from codi.training.loop import runs_folder
from codi.types import InputError


def main(arguments: list[str] | None = None) -> int:
    """Trains and measures what has not been; exits with 2 on bad input."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    try:
        arms = _chosen(args.arms)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    pipeline = CoDiPipeline.from_pretrained("codi-mini")
    scenes = cache(Scenes)
    for name, arm in arms.items():
        experts = {} if arm.join == "unified" else _experts(arm, scenes)
        for seed in arm.seeds:
            _run(name, arm, seed, experts, scenes, pipeline, args)
    write_report(args.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m codi.ablations", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for samples, figures, table and picture")
    parser.add_argument("--arms", nargs="*", default=[], help="files of configs/ablations, all where left out")
    parser.add_argument("--count", type=int, default=256, help="samples of each setting")
    return parser


def _chosen(names: list[str]) -> Mapping[str, Arm]:
    arms = load_arms()
    for name in names:
        if name not in arms:
            raise InputError(f"--arms {name}", "is no arm", f"choose among {', '.join(arms)}")
    return {name: arms[name] for name in names} if names else arms


def _experts(arm: Arm, scenes: Any) -> dict[str, Any]:
    return {name: expert(name, process, scenes) for name, process in arm.processes.items()}


def _run(
    name: str,
    arm: Arm,
    seed: int,
    experts: dict[str, Any],
    scenes: Any,
    pipeline: CoDiPipeline,
    args: argparse.Namespace,
) -> None:
    """Train an arm once, and measure each of its settings."""
    trained = joined(arm, name, seed, experts, scenes)
    for setting, options in (arm.settings | (arm.more if seed == arm.seeds[0] else {})).items():
        made = build(arm, experts, options.get("clock"))
        made.modules.load_state_dict(trained.modules.state_dict())
        for medium, engine in made.engines.items():
            engine.media = pipeline.engine(medium)
        label = _label(name, setting)
        plain = {key: value for key, value in options.items() if key != "clock"}
        prototype = Prototype(arm, made.engines, pipeline, plain)
        figures = measure(prototype, f"{label}.{seed}", args.count, seed + 1, args.out / "samples")
        facts = {"parameters": _size(made.modules), "cpu_seconds": _spent(name, seed)}
        path = args.out / "figures" / f"{label}.{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures | facts, indent=1))


def _label(name: str, setting: str) -> str:
    return f"{name}+{setting.replace(' ', '-')}" if setting else name


def _size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _spent(name: str, seed: int) -> float:
    log = runs_folder() / "ablations" / f"{name}_{seed}" / "log.jsonl"
    return float(json.loads(log.read_text().splitlines()[-1])["cpu_seconds"]) if log.exists() else 0.0


def write_report(out: Path) -> list[Row]:
    """`ablations.md` and `ablations.png` from the figures that lie in the folder."""
    rows = []
    for name, arm in load_arms().items():
        for setting in arm.settings | arm.more:
            files = sorted((out / "figures").glob(f"{_label(name, setting)}.*.json"))
            seeds = [json.loads(path.read_text()) for path in files]
            if seeds:
                title = f"{arm.title}, {setting}" if setting else arm.title
                given = tuple((arm.settings | arm.more)[setting].get("given", ()))
                size, spent = (seeds[0][key] if arm.steps else 0 for key in ("parameters", "cpu_seconds"))
                rows.append(Row(title, seeds, size, spent, given))
    rows.sort(key=lambda row: sum(row.synchrony()) / len(row.seeds))
    (out / "ablations.md").write_text(table(rows))
    draw([row for row in rows if not row.given], out / "ablations.png")
    return rows


if __name__ == "__main__":
    sys.exit(main())
