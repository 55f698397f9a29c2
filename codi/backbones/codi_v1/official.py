"""State dicts under the release's key names -> modules, each tensor accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn

from codi.backbones.codi_v1.names import Rule, official
from codi.backbones.codi_v1.temporal import RATE_ROW
from codi.types import InputError

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one component of a bundle is made of the release.

    Attributes:
        build: the module, random.
        rules: what its keys are called in the release.
    """

    build: Callable[[], nn.Module]
    rules: list[Rule]


@dataclass
class Report:
    """What became of a state dict.

    Attributes:
        missing: the release's names of what no tensor was there for; such weights stay on the meta device, where they
            cannot run, and are never random.
        unused: keys that nothing took.
        identity: frame-shift blocks that were missing and became the identity.
    """

    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    identity: list[str] = field(default_factory=list)


def load(recipe: Recipe, state: State, report: Report, taken: set[str]) -> nn.Module:
    """One component with the release's tensors.

    Args:
        recipe: of the component.
        state: the release's tensors, shared with the module and not copied where they fit.
        report: completed.
        taken: names that were used, completed.

    Raises:
        InputError: a tensor of another shape.
    """
    with init_empty_weights(include_buffers=False):
        module = recipe.build()
    found: dict[str, torch.Tensor] = {}
    for key, wanted in module.state_dict().items():
        name = official(key, recipe.rules)
        if name in state:
            taken.add(name)
            found[key] = fitted(name, state[name], wanted.shape)
        elif ".frameshiftblock." in name:
            found[key] = shift_identity(key, wanted.shape)
            report.identity.append(name)
        else:
            report.missing.append(name)
    module.load_state_dict(found, strict=False, assign=True)
    return module.eval().requires_grad_(False)


def fitted(name: str, tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A tensor in our shape: sides of 1 come and go, and of the frame-rate table one row is read.

    Raises:
        InputError: another shape.
    """
    if name.endswith("frame_rate_embeds"):
        tensor = tensor[0, RATE_ROW]
    if [n for n in tensor.shape if n != 1] != [n for n in shape if n != 1]:
        raise InputError(name, f"has shape {tuple(tensor.shape)}", f"the configuration asks for {tuple(shape)}")
    return tensor.reshape(shape)


def shift_identity(key: str, shape: torch.Size) -> torch.Tensor:
    """Weights of a frame shift that changes nothing: its convolution is zero."""
    return torch.ones(shape) if key.endswith("norm.weight") else torch.zeros(shape)


def from_recipes(recipes: Mapping[str, Recipe], state: State) -> tuple[dict[str, nn.Module], Report]:
    """All components of a part, and what became of its tensors."""
    report, taken = Report(), set[str]()
    modules = {name: load(recipe, state, report, taken) for name, recipe in recipes.items()}
    report.unused = sorted(set(state) - taken)
    return modules, report
