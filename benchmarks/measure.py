"""Timing in turns, ratios within rounds, and tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from codi import CoDiPipeline

T = TypeVar("T")
Mark = Callable[[Any, int, Mapping[str, torch.Tensor]], None]

PROMPT = "a small red circle bouncing"
SEED = 0


@dataclass(frozen=True)
class Timing:
    """One call: seconds of all of it, seconds of a step of its loop, and the latents that it ended with."""

    whole: float
    step: float
    latents: Mapping[str, torch.Tensor]


def interleaved(tasks: Mapping[str, Callable[[], T]], rounds: int, warm_up: bool = True) -> dict[str, list[T]]:
    """Run the tasks in turns, round after round; what each returned, by round."""
    if warm_up:
        for task in tasks.values():
            task()
    kept: dict[str, list[T]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            kept[name].append(task())
    return kept


def clocked(work: Callable[[Mark], object]) -> Timing:
    """Time a call that marks the end of each of its steps."""
    marks: list[float] = []
    last: dict[str, torch.Tensor] = {}

    def mark(_: Any, __: int, latents: Mapping[str, torch.Tensor]) -> None:
        marks.append(time.perf_counter())
        last.update(latents)

    start = time.perf_counter()
    work(mark)
    whole = time.perf_counter() - start
    return Timing(whole, (marks[-1] - marks[0]) / (len(marks) - 1), last)


def called(pipe: CoDiPipeline, outputs: Sequence[str], steps: int, **options: Any) -> Timing:
    """Time a call of the pipeline."""
    return clocked(
        lambda mark: pipe(
            inputs=PROMPT,
            outputs=outputs,
            num_inference_steps=steps,
            seed=SEED,
            callback_on_step_end=mark,
            **options,
        )
    )


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """The median of the rounds' ratios, with their range where there are several."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    spread = f" ({min(each):.3g} to {max(each):.3g})" if len(each) > 1 else ""
    return f"{median(each):.3g}{spread}"


def table(title: str, note: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a section."""
    lines = [f"## {title}", "", note, "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    print("\n".join(lines) + "\n", flush=True)


def count_flops(run: Callable[[], object]) -> int:
    """Floating-point operations of a call."""
    # The counter knows no formula for the CPU's fused attention: the plain one is matrix products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
