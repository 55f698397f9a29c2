"""Experts of the comparison's own, trained from nothing, and one network of both modalities: a unified model.

All are one kind of transformer over tokens, of one stream or of two; the unified model is wider and deeper, with as
many parameters as the experts and their bridges. Whichever decides what happens in a clip, codi-mini's painter draws
its frames. A change of the constants here needs fresh stages: move them in the runs folder away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from einops import repeat
from safetensors.torch import load_file, save_file
from torch import nn

from codi.ablations.components import GRIDS
from codi.bridge import Bridge
from codi.guidance import Guidance, Term
from codi.modalities.video.denoiser import VideoDenoiser
from codi.modality import Denoiser, registry
from codi.networks.clip_transformer import Clock, TimedAttention
from codi.port import Port
from codi.training import latents
from codi.training.levels import draw_levels, noised
from codi.training.loop import FitConfig, Losses, fit, runs_folder
from codi.types import ClipSpec, Denoised, Tokens

SHIFT: Final = 6.0
EXPERT: Final = {"width": 192, "layers": 6, "heads": 6}
UNIFIED: Final = {"width": 256, "layers": 10, "heads": 8}
"""As many parameters as two experts and the bridges between them."""
STEPS: Final = {"video": 7000, "audio": 6000}
"""Of 32 samples, by expert."""
Velocities = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""By modality, the velocity and hidden states [batch, tokens, width]."""


class StreamTransformer(nn.Module):
    """A DiT (Peebles and Xie 2023) over the tokens of one modality or of several in one sequence.

    Each stream has its own noise level, and all levels modulate all tokens: a unified model of every marginal,
    conditional and joint distribution (UniDiffuser, Bao et al. 2023). Blocks, clock and preconditioning are those of
    `ClipTransformer`.

    Args:
        streams: the modalities.
        width, layers, heads: of the blocks.
        prompt: channels of the prompt's tokens.
    """

    def __init__(self, streams: Sequence[str], width: int, layers: int, heads: int, prompt: int = 256) -> None:
        super().__init__()
        self.streams, self.width, self.tap = tuple(streams), width, layers * 2 // 3
        self.enter = nn.ModuleDict({n: nn.Linear(GRIDS[n].channels, width) for n in streams})
        self.slot = nn.ParameterDict({n: nn.Parameter(0.02 * torch.randn(GRIDS[n].slots, width)) for n in streams})
        self.level = nn.ModuleDict({n: TimestepEmbedding(width, width) for n in streams})
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        block: dict[str, Any] = {"activation_fn": "gelu-approximate", "attention_bias": True}
        adaptive: dict[str, Any] = {"norm_type": "ada_norm_single", "norm_elementwise_affine": False}
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(width, heads, width // heads, cross_attention_dim=prompt, **block, **adaptive)
            for _ in range(layers)
        )
        self.norm, self.last = nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, 2 * width)
        self.leave = nn.ModuleDict({n: nn.Linear(width, GRIDS[n].channels) for n in streams})
        for layer in self.leave.values():
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        self._clock = Clock()
        for module in self.modules():
            if isinstance(module, Attention) and not module.is_cross_attention:
                module.set_processor(TimedAttention(self._clock))

    def forward(
        self,
        noisy: Mapping[str, torch.Tensor],
        levels: Mapping[str, torch.Tensor],
        prompt: torch.Tensor,
        clocks: Mapping[str, torch.Tensor],
    ) -> Velocities:
        """Latents [batch, ...] at levels [batch], prompt tokens [batch, K, channels], clocks [moments] in seconds."""
        embedded = torch.stack([self._embedded(n, levels[n], prompt.dtype) for n in self.streams]).sum(0)
        modulation = self.modulation(embedded)
        hidden = torch.cat([self._entered(n, noisy[n], levels[n]) for n in self.streams], dim=1)
        self._clock.times = torch.cat([repeat(clocks[n], "t -> (t s)", s=GRIDS[n].slots) for n in self.streams])
        tapped = hidden
        for k, block in enumerate(self.blocks):
            hidden = block(hidden, encoder_hidden_states=prompt, timestep=modulation)
            tapped = hidden if k == self.tap - 1 else tapped
        scale, shift = self.last(nn.functional.silu(embedded))[:, None].chunk(2, dim=-1)
        sizes = [len(clocks[n]) * GRIDS[n].slots for n in self.streams]
        ends = (self.norm(hidden) * (1 + scale) + shift).split(sizes, dim=1)
        said = {n: GRIDS[n].unfold(self.leave[n](end)) for n, end in zip(self.streams, ends, strict=True)}
        shown = dict(zip(self.streams, tapped.split(sizes, dim=1), strict=True))
        return {n: (_velocity(noisy[n], levels[n], said[n]), shown[n]) for n in self.streams}

    def _embedded(self, name: str, level: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return self.level[name](get_timestep_embedding(1000 * level, self.width).to(dtype))  # type: ignore[no-any-return]

    def _entered(self, name: str, latent: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        tokens = self.enter[name](GRIDS[name].fold(latent * _power(level, latent).rsqrt()))
        slots = self.slot[name]
        return tokens + slots.repeat(tokens.shape[1] // len(slots), 1)  # type: ignore[no-any-return]


def _spread(level: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return level.view(-1, *([1] * (like.ndim - 1))).to(like.dtype)


def _power(level: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    spread = _spread(level, like)
    return (1 - spread) ** 2 + spread**2


def _velocity(latent: torch.Tensor, level: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
    """EDM's preconditioning on rectified flow's line, as of `ClipTransformer`."""
    power = _power(level, latent)
    return (2 * _spread(level, latent) - 1) / power * latent - power.rsqrt() * said


@dataclass(frozen=True)
class Beside:
    """A partner in one sequence with a stream: its latent, its levels [batch], its clock."""

    latent: torch.Tensor
    level: torch.Tensor
    clock: torch.Tensor


class View(nn.Module):
    """One stream of a transformer, with `ClipTransformer`'s signature.

    Args:
        inner: the transformer.
        name: the stream.
        beside: the other stream, where the transformer has two.
    """

    def __init__(self, inner: StreamTransformer, name: str, beside: Beside | None = None) -> None:
        super().__init__()
        self.inner, self.name, self.beside = inner, name, beside

    @property
    def sites(self) -> dict[str, int]:
        """Where readers stand, with their channels: as of `ClipTransformer`."""
        layers = len(self.inner.blocks)
        return {f"inner.blocks.{k}.attn2": self.inner.width for k in range(layers // 3, layers)}

    def forward(
        self, latent: torch.Tensor, timestep: torch.Tensor, states: torch.Tensor, times: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The velocity, and hidden states as `Grid.lie` lays them."""
        own = Beside(latent, timestep / 1000, times)
        seen = {n: own if n == self.name or self.beside is None else self.beside for n in self.inner.streams}
        noisy, levels = ({n: getattr(s, key) for n, s in seen.items()} for key in ("latent", "level"))
        said = self.inner(noisy, levels, states, {n: s.clock for n, s in seen.items()})
        velocity, hidden = said[self.name]
        return velocity, GRIDS[self.name].lie(hidden)


class StreamDenoiser:
    """Runs a view of a modality that nobody draws.

    Args:
        view: of its stream.
        bridge: its readers.
    """

    def __init__(self, view: View, bridge: Bridge | None = None) -> None:
        self.view, self.port = view, Port(view, bridge)

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """See `codi.modality.Denoiser`."""
        with self.port.reading(prompt, partners, lambda n: repeat(clock, "t -> (t s)", s=n // len(clock))):
            velocity, hidden = self.view(latent, 1000 * level, prompt.states, clock)
        return Denoised(velocity, lambda: torch.cat([hidden, GRIDS[self.view.name].fold(latent)], dim=-1))


def _clips(view: View, bridge: Bridge | None, former: Any) -> VideoDenoiser:
    """The view decides what happens; whoever drew for the denoiser that it stands for draws."""
    made = VideoDenoiser(view, None, bridge)  # type: ignore[arg-type]
    made.painter = former.painter
    return made


RUNS: Final[dict[str, Callable[[View, Bridge | None, Any], Denoiser]]] = {
    "video": _clips,
    "audio": lambda view, bridge, former: StreamDenoiser(view, bridge),
}
"""By modality, (view, bridge, the denoiser that it stands for) -> what runs the view."""


class UnifiedDenoiser:
    """One modality of a unified model: its partner's noisy latent stands in the same sequence.

    Made alone, the partner is noise at level 1, which says nothing (UniDiffuser, section 3.1).

    Args:
        name: the modality.
        net: the model.
        former: codi-mini's denoiser of the modality.
    """

    def __init__(self, name: str, net: StreamTransformer, former: Any) -> None:
        self.name, self.net, self.former = name, net, former
        (self.partner,) = (other for other in net.streams if other != name)

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """See `codi.modality.Denoiser`; `partners` are those of `Bare`."""
        beside = self._nobody(latent, level) if partners is None else self._read(partners)
        return RUNS[self.name](View(self.net, self.name, beside), None, self.former)(latent, level, prompt, clock)

    def _read(self, partners: Tokens) -> Beside:
        grid, states = GRIDS[self.partner], partners.states
        assert partners.times is not None
        return Beside(grid.unfold(states[..., :-1]), states[:, 0, -1], partners.times[:: grid.slots])

    def _nobody(self, latent: torch.Tensor, level: torch.Tensor) -> Beside:
        engine, clip = registry()[self.partner].engine()({}), ClipSpec()
        random = torch.Generator().manual_seed(0)
        # One for all: a row depends on itself alone.
        noise = torch.randn(1, *engine.latent_shape(clip), generator=random).to(latent)
        each = noise.expand(len(latent), *noise.shape[1:])
        return Beside(each, torch.ones_like(level), engine.clock(clip).to(latent.device))


@dataclass(frozen=True)
class UnifiedGuidance(Guidance):
    """Classifier-free guidance of a model of both: also without the prompt it sees the partner."""

    def terms(self, partners: bool) -> tuple[Term, ...]:
        """See Guidance; `bridge` of 1 is the model as it is, more is guidance by the partner."""
        if not partners or not self.bridge:
            return super().terms(False)
        terms = (
            Term(prompted=False, bridged=True, weight=1 - self.prompt),
            Term(prompted=True, bridged=False, weight=1 - self.bridge),
            Term(prompted=True, bridged=True, weight=self.prompt + self.bridge - 1),
        )
        return tuple(term for term in terms if term.weight)


def stage(name: str) -> str:
    """The runs folder of an expert."""
    return f"ablations/small_{name}"


def expert(name: str) -> View:
    """A modality's expert, frozen; trained if it has not been. It draws nothing from the caller's random state."""
    path = runs_folder() / stage(name) / "final.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        view = View(StreamTransformer((name,), **EXPERT), name)
        if not path.exists():
            _train(view, name)
            save_file(view.state_dict(), path)
    view.load_state_dict(load_file(path))
    return view.eval().requires_grad_(False)


def _train(view: View, name: str) -> None:
    """The squared error alone."""
    stored, facts = latents.load(name), latents.facts_table(latents.stored(name))
    prompts, clock = latents.Prompts(), registry()[name].engine()({}).clock(ClipSpec())
    port = Port(view, None)

    def loss(rng: np.random.Generator, batch: int) -> Losses:
        rows = rng.integers(0, len(stored), batch)
        prompt, _ = prompts.draw(facts[rows], rng)
        level = draw_levels(batch, SHIFT, 0.1)
        noisy, target = noised(GRIDS[name].stored(torch.from_numpy(stored[rows]).float()), level)
        with port.reading(prompt, None, lambda n: clock):
            velocity, _ = view(noisy, 1000 * level, prompt.states, clock)
        return {"loss": (velocity - target).square().mean()}

    config = FitConfig(STEPS[name], batch=32, lr=1e-3, warmup=100, ema=0.998, bf16=True)
    fit(stage(name), view, loss, config)
