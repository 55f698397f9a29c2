"""Compares bridges with alternatives: `python -m codi.ablations --out DIR [--arms NAME ...] [--count N]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import torch

from codi.ablations.arms import EXPERTS, Arm, load_arms
from codi.ablations.experts import KINDS, paced, with_expert
from codi.ablations.measure import Setting, measure, pipeline_of
from codi.ablations.report import Row, draw, summary, table
from codi.ablations.small import expert, stage
from codi.ablations.training import Scenes, trained
from codi.pipeline import CoDiPipeline
from codi.training.loop import runs_folder
from codi.types import InputError


def main(arguments: list[str] | None = None) -> int:
    """Trains and measures what has not been; exits with 2 on bad input."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    try:
        arms, pipe = _chosen(args.arms), paced(CoDiPipeline.from_pretrained(args.model))
        for name, arm in arms.items():
            for seed in arm.seeds:
                _run(name, arm, seed, pipe, cache(Scenes), args)
        write_report(args.out)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m codi.ablations", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for samples, figures, table and picture")
    parser.add_argument("--arms", nargs="*", default=[], help="files of configs/ablations, all where left out")
    parser.add_argument("--count", type=int, default=256, help="samples of each setting")
    parser.add_argument("--model", default="codi-mini", help="the bundle whose denoisers are coupled")
    return parser


def _chosen(names: list[str]) -> Mapping[str, Arm]:
    arms = load_arms()
    for name in names:
        if name not in arms:
            raise InputError(f"--arms {name}", "is no arm", f"choose among {', '.join(arms)}")
    return {name: arms[name] for name in names} if names else arms


def _run(
    name: str, arm: Arm, seed: int, pipe: CoDiPipeline, scenes: Callable[[], Scenes], args: argparse.Namespace
) -> None:
    """Train an arm once, and measure each of its settings."""
    pipe = with_expert(pipe, KINDS[arm.sound])
    bases = {part: pipe.components[part].eval().requires_grad_(False) for part in EXPERTS}
    weights = trained(arm, name, seed, bases, scenes)
    for setting, options in (arm.settings | (arm.more if seed == arm.seeds[0] else {})).items():
        label = _label(name, setting)
        made = pipeline_of(arm, pipe, weights, options.get("join"))
        figures = measure(made, Setting(f"{label}.{seed}", args.count, options), args.out / "samples")
        experts = [weight for modality in arm.experts for weight in expert(modality).parameters()]
        spent = sum(map(_spent, (f"ablations/{name}_{seed}", *map(stage, arm.experts))))
        facts = {"parameters": sum(w.numel() for w in (*weights.values(), *experts)), "cpu_seconds": spent}
        path = args.out / "figures" / f"{label}.{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures | facts, indent=1))


def _label(name: str, setting: str) -> str:
    return f"{name}+{setting.replace(' ', '-')}" if setting else name


def _spent(folder: str) -> float:
    log = runs_folder() / folder / "log.jsonl"
    return float(json.loads(log.read_text().splitlines()[-1])["cpu_seconds"]) if log.exists() else 0.0


def write_report(out: Path) -> list[Row]:
    """`ablations.md` (a line an arm, then each setting) and `ablations.png` from the figures that lie in the folder."""
    rows = []
    for name, arm in load_arms().items():
        for setting, options in (arm.settings | arm.more).items():
            files = sorted((out / "figures").glob(f"{_label(name, setting)}.*.json"))
            seeds = [json.loads(path.read_text()) for path in files]
            if seeds:
                size, spent = (seeds[0][key] if arm.steps else 0 for key in ("parameters", "cpu_seconds"))
                rows.append(Row(arm.title, setting, seeds, size, spent, tuple(options.get("given", ()))))
    rows.sort(key=lambda row: sum(row.synchrony()) / len(row.seeds))
    (out / "ablations.md").write_text(f"# The comparison\n\n{summary(rows)}\n## Every setting\n\n{table(rows)}")
    draw(rows, out / "ablations.png")
    return rows


if __name__ == "__main__":
    sys.exit(main())
