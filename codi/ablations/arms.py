"""The arms of the comparison: what each couples denoisers with, read from configs/ablations, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf
from torch import nn

from codi.ablations.components import (
    GRIDS,
    AttentionBridge,
    Bare,
    DiscriminatedDenoiser,
    Discriminator,
    IndexBridge,
    LatentEnvironment,
    PlainBridge,
    PooledEnvironment,
    PositionBridge,
    SharpBridge,
    TimelessBridge,
    WindowBridge,
)
from codi.ablations.small import EXPERT, RUNS, UNIFIED, StreamTransformer, UnifiedDenoiser, UnifiedGuidance, expert
from codi.bridge import Bridge
from codi.environment import EnvironmentEncoder
from codi.guidance import Guidance
from codi.modalities.video.denoiser import feature_channels
from codi.modality import Engine
from codi.networks.unet_denoiser import bridge_sites

CONFIGS: Final = Path(__file__).parents[2] / "configs" / "ablations"
EXPERTS: Final = tuple(f"{name}_denoiser" for name in GRIDS)
"""Components that arms couple."""


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        title: as tables show it.
        join: key of JOINS: how what crosses is read.
        shows: what crosses: "features" of the frozen partner, or its noisy "latent".
        pooled: whether it crosses as one token.
        sound: kind of the sound's expert, a key of `codi.ablations.experts.KINDS`: "flow" is codi-mini's.
        whole: share of the learning rate at which the experts are trained too, from what they are; 0 for frozen ones.
        own: whether a modality reads its own tokens instead of its partner's, as CoDi's released code does.
        clean, same: shares of training batches with one side clean, and with the same level on both.
        experts: modalities whose experts are trained from nothing (`codi.ablations.small`) instead of codi-mini's.
        steps: of training; 0 for nothing to train.
        batch, lr: of a step, and AdamW's peak learning rate.
        seeds: of training.
        settings: measured with these, by name; each may name options of the pipeline, join, cascade and given.
        more: the same, of the first seed alone.
    """

    title: str
    join: str = "attention"
    shows: str = "features"
    pooled: bool = False
    sound: str = "flow"
    whole: float = 0.0
    own: bool = False
    clean: float = 0.2
    same: float = 0.5
    experts: list[str] = field(default_factory=list)
    steps: int = 500
    batch: int = 16
    lr: float = 1.5e-3
    seeds: list[int] = field(default_factory=lambda: [0])
    settings: dict[str, Any] = field(default_factory=lambda: {"": {}})
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def guidance(self) -> type[Guidance]:
        """Who reads whom."""
        return OwnGuidance if self.own else GUIDANCES.get(self.join, Guidance)


def load_arms(folder: Path = CONFIGS) -> dict[str, Arm]:
    """All arms by name; a key that an Arm does not have is refused by omegaconf."""
    read = {
        p.stem: OmegaConf.merge(OmegaConf.structured(Arm), OmegaConf.load(p)) for p in sorted(folder.glob("*.yaml"))
    }
    return {name: OmegaConf.to_object(arm) for name, arm in read.items()}  # type: ignore[misc]


@dataclass(frozen=True)
class OwnGuidance(Guidance):
    """Guidance whose readers see their own modality's tokens."""

    def reads(self, name: str, other: str) -> bool:
        """See Guidance."""
        return other == name


@dataclass(frozen=True)
class Joined:
    """What couples two denoisers.

    Attributes:
        modules: what is trained, and kept; those with a component's name stand in its place.
        wrap: changes finished engines, by modality.
    """

    modules: nn.ModuleDict
    wrap: Callable[[dict[str, Engine]], None] = lambda engines: None


def build(arm: Arm, bases: Mapping[str, Any], join: str | None = None) -> Joined:
    """The arm, untrained.

    Args:
        arm: which.
        bases: the frozen networks by component.
        join: another one than it was trained with.
    """
    joined = JOINS[join or arm.join](arm, bases)
    if arm.whole:
        for name in EXPERTS:
            joined.modules[name] = deepcopy(bases[name]).requires_grad_(True)
    return joined


def _sites(bases: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {"video": bases["video_denoiser"].bridge_sites, "audio": bridge_sites(bases["audio_denoiser"])}


def _environment(arm: Arm, bases: Mapping[str, Any], name: str) -> nn.Module:
    unet = bases["audio_denoiser"].config
    tapped = {
        "video": feature_channels(bases["video_denoiser"]),
        "audio": 4 * (unet.block_out_channels[0] + unet.in_channels),
    }
    makers: dict[str, Callable[[], nn.Module]] = {
        "features": lambda: EnvironmentEncoder(tapped[name], GRIDS[name].slots),
        "latent": lambda: LatentEnvironment(GRIDS[name]),
    }
    made = makers[arm.shows]()
    return PooledEnvironment(made) if arm.pooled else made


def _read(reader: Callable[[dict[str, int]], nn.Module]) -> Callable[[Arm, Mapping[str, Any]], Joined]:
    def join(arm: Arm, bases: Mapping[str, Any]) -> Joined:
        modules = nn.ModuleDict()
        for name, sites in _sites(bases).items():
            modules[f"{name}_environment_encoder"] = _environment(arm, bases, name)
            modules[f"{name}_bridge"] = reader(sites)
        return Joined(modules)

    return join


def _index(arm: Arm, bases: Mapping[str, Any]) -> Joined:
    joined = _read(IndexBridge)(arm, bases)
    joined.modules["video_bridge"].frames = "queries"  # type: ignore[assignment]
    return joined


def _discriminator(arm: Arm, bases: Mapping[str, Any]) -> Joined:
    judge = Discriminator()

    def wrap(engines: dict[str, Engine]) -> None:
        for name, engine in engines.items():
            engine.environment = Bare(GRIDS[name])  # type: ignore[misc]
            engine.denoiser = DiscriminatedDenoiser(name, engine.denoiser, judge)  # type: ignore[misc]

    return Joined(nn.ModuleDict({"discriminator": judge}), wrap)


def _small(arm: Arm, bases: Mapping[str, Any]) -> Joined:
    views = {name: expert(name) for name in arm.experts}
    bridges = {name: Bridge(view.sites) for name, view in views.items()}
    modules = nn.ModuleDict({f"{name}_bridge": bridge for name, bridge in bridges.items()})
    for name, grid in GRIDS.items():
        modules[f"{name}_environment_encoder"] = EnvironmentEncoder(EXPERT["width"] + grid.channels, grid.slots)

    def wrap(engines: dict[str, Engine]) -> None:
        for name, view in views.items():
            engine: Any = engines[name]
            engine.denoiser = RUNS[name](view, bridges[name], engine.denoiser)

    return Joined(modules, wrap)


def _unified(arm: Arm, bases: Mapping[str, Any]) -> Joined:
    net = StreamTransformer(tuple(GRIDS), **UNIFIED)

    def wrap(engines: dict[str, Engine]) -> None:
        for name in GRIDS:
            engine: Any = engines[name]
            engine.environment = Bare(GRIDS[name])
            engine.denoiser = UnifiedDenoiser(name, net, engine.denoiser)

    return Joined(nn.ModuleDict({"unified": net}), wrap)


GUIDANCES: Final[dict[str, type[Guidance]]] = {"unified": UnifiedGuidance}
"""By join, what is not guided as others are."""

JOINS: Final[dict[str, Callable[[Arm, Mapping[str, Any]], Joined]]] = {
    "both": _read(Bridge),
    "attention": _read(AttentionBridge),
    "no clock": _read(TimelessBridge),
    "index clock": _index,
    "added": _read(PositionBridge),
    "window": _read(WindowBridge),
    "sharp": _read(SharpBridge),
    "plain": _read(PlainBridge),
    "discriminator": _discriminator,
    "small": _small,
    "unified": _unified,
}
