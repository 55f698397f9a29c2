"""A stage for `torchrun`: two modules, each left out of the loss by one process, and a convolution, channels last."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from codi.training.loop import FitConfig, fit


def modules() -> nn.ModuleList:
    """What is trained."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 2, 3, bias=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1), conv])


def slope() -> torch.Tensor:
    """The convolution's gradient."""
    return torch.arange(36.0).mul(1.7).cos().view(2, 2, 3, 3)


def main(out: Path) -> None:
    """Train for a few steps and save what each process ends with."""
    model = modules()
    draws: list[float] = []

    def loss(rng: np.random.Generator, batch: int) -> dict[str, torch.Tensor]:
        own = torch.distributed.get_rank()
        inputs = torch.from_numpy(rng.standard_normal((batch, 3))).float()
        draws.append(float(inputs.sum()))
        pulled = (model[2].weight * slope()).sum()
        return {"loss": (model[own](inputs) - 1).square().mean() + pulled}

    fit("shared", model, loss, FitConfig(steps=4, batch=2, warmup=1, log_every=2))
    torch.save({"weights": model.state_dict(), "draws": draws}, out / f"{torch.distributed.get_rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
