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
        validate: figures written to the log at the end.

    Returns:
        The stage's folder; `model` holds the averaged weights when the run is complete.
    """
    run = _Run(runs_folder() / name, model, config)
    done, saved = run.progress, time.monotonic()
    bar = tqdm(range(done.step, config.steps), desc=name, mininterval=20, initial=done.step, total=config.steps)
    model.train()
    for index in bar:
        run.step(index, loss)
        if done.step % config.log_every == 0:
            bar.set_postfix(run.log())
        over = run.agreed(done.seconds > config.hours * 3600)
        if run.agreed(over or time.monotonic() - saved > config.save_seconds or done.step == config.steps):
            run.save()
            saved = time.monotonic()
        if over:
            break
    run.ema.copy_to(run.trained)
    model.eval()
    if validate is not None and run.accelerator.is_main_process:
        run.write({"step": done.step, "cpu_seconds": done.seconds, "validation": validate()})
    return run.folder


class _Run:
    """A stage under way: what a checkpoint of it holds, and the folder where that and the log stand.

    Args:
        folder: of the stage; a checkpoint that lies there is gone on from.
        model: its parameters that require gradients are trained.
        config: of the training.
    """

    def __init__(self, folder: Path, model: nn.Module, config: FitConfig) -> None:
        self.folder, self.config = folder, config
        folder.mkdir(parents=True, exist_ok=True)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available(), step_scheduler_with_optimizer=False)
        self.trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = _optimizer(model, config)
        schedule = get_scheduler("cosine", optimizer, num_warmup_steps=config.warmup, num_training_steps=config.steps)
        self.ema, self.progress = EMAModel(self.trained, decay=config.ema), _Progress()
        self.optimizer, self.schedule = self.accelerator.prepare(optimizer, schedule)
        self.holder = self.accelerator.prepare_model(_Trained(self.trained), evaluation_mode=True)
        self.accelerator.register_for_checkpointing(self.ema, self.progress)
        if (folder / "state").exists():
            self.accelerator.load_state(str(folder / "state"))
        self.bf16 = config.bf16 and has_bf16(self.accelerator.device)

    def step(self, index: int, loss: Callable[[np.random.Generator, int], Losses]) -> None:
        """One step of the optimiser, on the data of that number."""
        begun, accelerator = time.thread_time(), self.accelerator
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=self.bf16):
            losses = loss(step_generator(self.config.seed, index, accelerator.process_index), self.config.batch)
        accelerator.backward(losses["loss"])
        self._average_gradients()
        accelerator.clip_grad_norm_(self.holder.parameters(), self.config.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.ema.step(self.trained)
        self.progress.advance(time.thread_time() - begun, losses)

    def _average_gradients(self) -> None:
        """Across the processes of `accelerate launch`, each of which drew a batch of its own."""
        if self.accelerator.num_processes == 1:
            return
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.trained]
        mean = self.accelerator.reduce(torch.cat([g.flatten() for g in own]), "mean")
        for parameter, part in zip(self.trained, mean.split([p.numel() for p in self.trained]), strict=True):
            # As the parameter lies in memory: a fused optimiser takes no notice of strides.
            parameter.grad = torch.empty_like(parameter).copy_(part.view_as(parameter))

    def agreed(self, flag: bool) -> bool:
        """The main process's decision in all of them: their clocks differ."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(broadcast(torch.tensor(float(flag), device=self.accelerator.device)))

    def log(self) -> dict[str, float]:
        """Means of the losses since the last row of the log, which they become."""
        means = self.progress.means()
        if self.accelerator.is_main_process:
            self.write({"step": self.progress.step, "cpu_seconds": round(self.progress.seconds, 1), **means})
        return means

    def write(self, row: dict[str, object]) -> None:
        """A row of the log."""
        with (self.folder / "log.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def save(self) -> None:
        """Write beside, then swap: a run killed here keeps its last checkpoint."""
        fresh, old, state = (self.folder / name for name in ("state.new", "state.old", "state"))
        main = self.accelerator.is_main_process
        if main:
            shutil.rmtree(fresh, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(fresh))
        self.accelerator.wait_for_everyone()
        if main:
            shutil.rmtree(old, ignore_errors=True)
            if state.exists():
                state.rename(old)
            fresh.rename(state)
            shutil.rmtree(old, ignore_errors=True)


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

    def means(self) -> dict[str, float]:
        """Of each loss over the steps that had it, since this was last asked."""
        keys = dict.fromkeys(key for row in self.recent for key in row)
        means = {key: float(np.mean([row[key] for row in self.recent if key in row])) for key in keys}
        self.recent = []
        return means

    def state_dict(self) -> dict[str, float]:
        return {"step": self.step, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.step, self.seconds = int(state["step"]), state["seconds"]


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `count`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
