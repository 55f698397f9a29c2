"""The arms of the comparison: what each joins two experts with, read from configs/ablations, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf
from torch import nn

from codi.ablations.experts import CLOCKS, MEDIA, ExpertDenoiser, ExpertEngine
from codi.ablations.joins import (
    Bare,
    DiscriminatedDenoiser,
    Discriminator,
    FeatureEnvironment,
    LatentEnvironment,
    PositionBridge,
    Unified,
    UnifiedDenoiser,
)
from codi.ablations.processes import PROCESSES
from codi.bridge import Bridge
from codi.guidance import Guidance
from codi.types import Tokens

CONFIGS: Final = Path(__file__).parents[2] / "configs" / "ablations"


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        title: as tables show it.
        join: key of JOINS.
        shows: what crosses: "features" of the frozen partner, or its noisy "latent".
        pooled: whether it crosses as one token.
        own: whether a modality reads its own tokens instead of its partner's, as CoDi's released code does.
        clock: key of CLOCKS.
        levels: in training: "mixed" (half the same, 30 % independent, 20 % one side clean), or always the "same".
        processes: by modality, keys of PROCESSES.
        steps: of training; 0 for nothing to train.
        seeds: of training and sampling.
        settings: evaluated with these, by name; each may name bridge_scale, fps, duration, clock, cascade, given.
        more: the same, of the first seed alone.
    """

    title: str
    join: str = "attention"
    shows: str = "features"
    pooled: bool = False
    own: bool = False
    clock: str = "seconds"
    levels: str = "mixed"
    processes: dict[str, str] = field(default_factory=lambda: {"video": "flow-6", "audio": "flow-4"})
    steps: int = 600
    seeds: list[int] = field(default_factory=lambda: [0])
    settings: dict[str, Any] = field(default_factory=lambda: {"": {}})
    more: dict[str, Any] = field(default_factory=dict)


def load_arms(folder: Path = CONFIGS) -> dict[str, Arm]:
    """All arms by name; a key that an Arm does not have is refused by omegaconf."""
    files = sorted(path for path in folder.glob("*.yaml") if path.stem != "common")
    read = {path.stem: OmegaConf.merge(OmegaConf.structured(Arm), OmegaConf.load(path)) for path in files}
    return {name: OmegaConf.to_object(arm) for name, arm in read.items()}  # type: ignore[misc]


@dataclass(frozen=True)
class OwnGuidance(Guidance):
    """Guidance whose readers see their own modality's tokens."""

    def seen(self, name: str, shown: Mapping[str, Tokens | None]) -> dict[str, Tokens]:
        """See Guidance."""
        own = shown.get(name)
        return {} if own is None else {name: own}


def guidance_of(arm: Arm, bridge: float = 1.0, prompt: float = 3.0) -> Guidance:
    """The arm's guidance."""
    return (OwnGuidance if arm.own else Guidance)(prompt, bridge)


@dataclass(frozen=True)
class Joined:
    """Two experts and what joins them.

    Attributes:
        engines: by modality, for codi's joint loop.
        modules: what is trained, and kept.
    """

    engines: dict[str, ExpertEngine]
    modules: nn.ModuleDict


Experts = Mapping[str, Any]
"""Frozen transformers by modality."""


def build(arm: Arm, experts: Experts, clock: str | None = None) -> Joined:
    """The arm, untrained.

    Args:
        arm: which.
        experts: its frozen transformers; a unified model needs none.
        clock: another clock than it was trained with.
    """
    return JOINS[arm.join](arm, experts, CLOCKS[clock or arm.clock])


def _read(arm: Arm, experts: Experts, told: Any, reader: Callable[[dict[str, int]], nn.Module]) -> Joined:
    show = {"features": FeatureEnvironment, "latent": LatentEnvironment}[arm.shows]
    engines, modules = {}, nn.ModuleDict()
    for name, medium in MEDIA.items():
        environment, bridge = show(medium, arm.pooled), reader(experts[name].bridge_sites)
        modules[f"{name}_environment"], modules[f"{name}_bridge"] = environment, bridge
        denoiser = ExpertDenoiser(medium, experts[name], bridge, told)
        engines[name] = ExpertEngine(medium, PROCESSES[arm.processes[name]], denoiser, environment, told)
    return Joined(engines, modules)


def _attention(arm: Arm, experts: Experts, told: Any) -> Joined:
    return _read(arm, experts, told, Bridge)


def _added(arm: Arm, experts: Experts, told: Any) -> Joined:
    return _read(arm, experts, told, PositionBridge)


def _discriminator(arm: Arm, experts: Experts, told: Any) -> Joined:
    judge, engines = Discriminator(MEDIA), {}
    for name, medium in MEDIA.items():
        process = PROCESSES[arm.processes[name]]
        denoiser = DiscriminatedDenoiser(name, ExpertDenoiser(medium, experts[name]), process, judge)
        engines[name] = ExpertEngine(medium, process, denoiser, Bare(), told)
    return Joined(engines, nn.ModuleDict({"discriminator": judge}))


def _unified(arm: Arm, experts: Experts, told: Any) -> Joined:
    model = Unified(MEDIA)
    engines = {
        name: ExpertEngine(medium, PROCESSES[arm.processes[name]], UnifiedDenoiser(name, model), Bare(), told)
        for name, medium in MEDIA.items()
    }
    return Joined(engines, nn.ModuleDict({"unified": model}))


JOINS: Final[dict[str, Callable[[Arm, Experts, Any], Joined]]] = {
    "attention": _attention,
    "added": _added,
    "discriminator": _discriminator,
    "unified": _unified,
}
