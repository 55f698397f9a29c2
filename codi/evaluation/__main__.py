"""Evaluates a model: `python -m codi.evaluation --model DIR --suite mesh --out DIR`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from codi.evaluation.evaluate import SPECIAL, Plan, evaluate
from codi.evaluation.suites import SUITES
from codi.types import InputError


def main() -> int:
    """Runs one suite; exits with 2 on bad input."""
    args = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from codi.evaluation.engines import load_engine

    options = {"num_inference_steps": args.steps} if args.steps else {}
    plan = Plan(args.suite, args.count, args.seed, args.part, args.parts, args.only, args.ceiling)
    try:
        evaluate(load_engine(args.model, options), plan, args.out)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m codi.evaluation", description=__doc__)
    parser.add_argument("--model", default="codi-mini", help="a bundle's name or folder, or 'oracle'")
    parser.add_argument("--suite", required=True, help=", ".join([*SUITES, *SPECIAL]))
    parser.add_argument("--out", type=Path, required=True, help="folder for samples, figures and the report")
    parser.add_argument("--count", type=int, help="samples for each cell")
    parser.add_argument("--steps", type=int, help="sampling steps; the pipeline's own number where left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="run only cells whose name contains this")
    parser.add_argument("--part", type=int, default=0, help="run every PARTS-th cell from this one on")
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--ceiling", type=Path, help="folder of the oracle's figures, to normalise by")
    return parser


if __name__ == "__main__":
    sys.exit(main())
