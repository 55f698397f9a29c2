"""The one training loop: a stage hands it a model and a loss, and gets exact resume, EMA, logs and a budget."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import nn
from tqdm import tqdm

Losses = dict[str, torch.Tensor]
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class FitConfig:
    """How a stage is trained.

    Attributes:
        steps: optimiser steps in all.
        batch: samples a step.
        lr: peak learning rate of AdamW; warmed up over `warmup` steps, then cosine to zero.
        rates: by the start of a parameter's name, a factor of its learning rate.
        ema: decay of the exponential moving average of the weights (with diffusers' warm-up).
        clip: largest norm of the gradient.
        save_seconds: a checkpoint at least this often.
        bf16: run the model in bfloat16 where autocast does, on devices that have it (`has_bf16`).
        hours: CPU-hours granted (one thread); the run stops with a checkpoint when they are spent.
    """

    steps: int = 1000
    batch: int = 32
    lr: float = 1e-3
    rates: Mapping[str, float] = field(default_factory=dict)
    warmup: int = 50
    ema: float = 0.999
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    save_seconds: float = 150.0
    log_every: int = 20
    bf16: bool = False
    hours: float = 10.0


def runs_folder() -> Path:
    """Where training state stands: $CODI_RUNS, or the user's cache folder."""
    return Path(os.environ.get("CODI_RUNS") or Path.home() / ".cache" / "codi" / "runs")


def built_once(path: Path, build: Callable[[], Kept]) -> Kept:
    """What `build` gives, from the file where it was built before; tensors are mapped from it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may be building it too, and may have mapped it by now: it is replaced, never written over.
        whole = path.with_suffix(f".{os.getpid()}.tmp")
        torch.save(build(), whole)
        whole.replace(path)
    kept: Kept = torch.load(path, weights_only=True, mmap=True)
    return kept


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16; a processor without it takes fifty times as long for a product in it."""
    if device.type == "cpu":
        # (torch asks itself so; builds without oneDNN, as on Apple's processors, have no such question)
        return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type != "cuda" or torch.cuda.is_bf16_supported()


def step_generator(seed: int, step: int, process: int = 0) -> np.random.Generator:
    """The data generator of one step; torch's own is seeded with it, so a resumed run repeats the uninterrupted one."""
    rng = np.random.default_rng((seed, step, process) if process else (seed, step))
    torch.manual_seed(int(rng.integers(2**63)))
    return rng


def fit(
    name: str,
    model: nn.Module,
    loss: Callable[[np.random.Generator, int], Losses],
    config: FitConfig,
    validate: Callable[[], dict[str, float]] | None = None,
) -> Path:
    """Train the parameters of `model` that require gradients, resuming where the last run stopped.

    Args:
        name: folder under the runs folder.
        model: holds the weights; the loss closes over it.
        loss: (generator, batch size) -> named losses; "loss" is minimised.
        validate: figures written to the log with every checkpoint.

    Returns:
        The stage's folder; `model` holds the averaged weights when the run is complete.
    """
    folder = runs_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), step_scheduler_with_optimizer=False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = _optimizer(model, config)
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=config.warmup, num_training_steps=config.steps)
    ema = EMAModel(trained, decay=config.ema)
    clock = _Progress()
    optimizer, schedule = accelerator.prepare(optimizer, schedule)
    holder = accelerator.prepare_model(_Trained(trained), evaluation_mode=True)
    accelerator.register_for_checkpointing(ema, clock)
    if (folder / "state").exists():
        accelerator.load_state(str(folder / "state"))
    model.train()
    bf16 = config.bf16 and has_bf16(accelerator.device)
    bar = tqdm(range(clock.step, config.steps), desc=name, mininterval=20, initial=clock.step, total=config.steps)
    saved = time.monotonic()
    for step in bar:
        begun = time.thread_time()
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bf16):
            losses = loss(step_generator(config.seed, step, accelerator.process_index), config.batch)
        accelerator.backward(losses["loss"])
        _average_gradients(accelerator, trained)
        accelerator.clip_grad_norm_(holder.parameters(), config.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ema.step(trained)
        clock.advance(time.thread_time() - begun, losses)
        over = _agreed(accelerator, clock.seconds > config.hours * 3600)
        if clock.step % config.log_every == 0:
            bar.set_postfix(_log(accelerator, folder, clock))
        due = over or time.monotonic() - saved > config.save_seconds or clock.step == config.steps
        if _agreed(accelerator, due):
            _save(accelerator, folder)
            saved = time.monotonic()
        if over:
            break
    ema.copy_to(trained)
    model.eval()
    if validate is not None and accelerator.is_main_process:
        _write(folder, {"step": clock.step, "cpu_seconds": clock.seconds, "validation": validate()})
    return folder


def _optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """AdamW over the parameters that are trained, in groups of one learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = next((rate for start, rate in config.rates.items() if name.startswith(start)), 1.0)
            groups.setdefault(rate, []).append(parameter)
    by_rate = [{"params": parameters, "lr": config.lr * rate} for rate, parameters in groups.items()]
    return torch.optim.AdamW(by_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True)


def finished(name: str, config: FitConfig) -> bool:
    """Whether the stage has taken all its steps."""
    log = runs_folder() / name / "log.jsonl"
    return log.exists() and json.loads(log.read_text().splitlines()[-1])["step"] >= config.steps


class _Trained(nn.Module):
    """The trained parameters alone, so that a checkpoint does not repeat the frozen ones."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(parameters)


class _Progress:
    """Step count, CPU time and running losses; part of the checkpoint."""

    def __init__(self) -> None:
        self.step, self.seconds = 0, 0.0
        self.recent: list[dict[str, float]] = []

    def advance(self, seconds: float, losses: Losses) -> None:
        self.step += 1
        self.seconds += seconds
        self.recent.append({key: float(value.detach()) for key, value in losses.items()})

    def state_dict(self) -> dict[str, float]:
        return {"step": self.step, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.step, self.seconds = int(state["step"]), state["seconds"]


def _average_gradients(accelerator: Accelerator, trained: list[nn.Parameter]) -> None:
    """Across the processes of `accelerate launch`, each of which drew a batch of its own."""
    if accelerator.num_processes == 1:
        return
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    mean = accelerator.reduce(torch.cat([g.flatten() for g in own]), "mean")
    for parameter, part in zip(trained, mean.split([p.numel() for p in trained]), strict=True):
        # As the parameter lies in memory: a fused optimiser takes no notice of strides.
        parameter.grad = torch.empty_like(parameter).copy_(part.view_as(parameter))


def _agreed(accelerator: Accelerator, flag: bool) -> bool:
    """The main process's decision in all of them: their clocks differ."""
    if accelerator.num_processes == 1:
        return flag
    return bool(broadcast(torch.tensor(float(flag), device=accelerator.device)))


def _log(accelerator: Accelerator, folder: Path, clock: _Progress) -> dict[str, float]:
    keys = dict.fromkeys(key for row in clock.recent for key in row)
    means = {key: float(np.mean([row[key] for row in clock.recent if key in row])) for key in keys}
    clock.recent = []
    if not accelerator.is_main_process:
        return means
    _write(folder, {"step": clock.step, "cpu_seconds": round(clock.seconds, 1), **means})
    return means


def _write(folder: Path, row: dict[str, object]) -> None:
    with (folder / "log.jsonl").open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def _save(accelerator: Accelerator, folder: Path) -> None:
    """Write beside, then swap: a run killed here keeps its last checkpoint."""
    fresh, old, state = folder / "state.new", folder / "state.old", folder / "state"
    if accelerator.is_main_process:
        shutil.rmtree(fresh, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(fresh))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(old, ignore_errors=True)
        if state.exists():
            state.rename(old)
        fresh.rename(state)
        shutil.rmtree(old, ignore_errors=True)


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `count`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
