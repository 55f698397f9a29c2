"""`codi evaluate`: the evaluation with a bar, and a page at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codi.apps.request import plain_warnings, quiet, writable


def run(model: str, suite: str, out: Path, options: Mapping[str, Any], quick: bool, seed: int) -> Path:
    """Evaluate a bundle.

    Returns:
        The page.

    Raises:
        InputError: no such bundle or suite, or a folder that cannot be written.
    """
    from tqdm.auto import tqdm

    from codi.evaluation.engines import load_engine
    from codi.evaluation.everything import count_steps, run_everything

    total = count_steps(suite, quick)
    with writable(out, []), plain_warnings():
        quiet()
        engine = load_engine(model, options)
        with tqdm(total=total, desc="evaluate", dynamic_ncols=True) as bar:

            def on_step(name: str) -> None:
                bar.set_postfix_str(name)
                bar.update()

            return run_everything(engine, suite, out, quick=quick, seed=seed, on_step=on_step)
