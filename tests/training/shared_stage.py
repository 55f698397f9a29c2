"""A stage of two modules for `torchrun`: each process leaves one of them out of its loss."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from codi.training.loop import FitConfig, fit


def main(out: Path) -> None:
    """Train for a few steps and save what each process ends with."""
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])
    draws: list[float] = []

    def loss(rng: np.random.Generator, batch: int) -> dict[str, torch.Tensor]:
        own = torch.distributed.get_rank()
        inputs = torch.from_numpy(rng.standard_normal((batch, 3))).float()
        draws.append(float(inputs.sum()))
        return {"loss": (model[own](inputs) - 1).square().mean()}

    fit("shared", model, loss, FitConfig(steps=4, batch=2, warmup=1, log_every=2))
    torch.save({"weights": model.state_dict(), "draws": draws}, out / f"{torch.distributed.get_rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
