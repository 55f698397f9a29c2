"""What may stand in the place of codi's environment encoders and bridges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from diffusers.models.embeddings import get_timestep_embedding
from einops import rearrange, reduce, repeat
from torch import nn
from torch.nn import functional

from codi.bridge import Added, Bridge, KeysValues, Weighed, nearness
from codi.environment import BRIDGE_WIDTH, EnvironmentEncoder
from codi.modality import Denoiser
from codi.types import Denoised, Tokens


@dataclass(frozen=True)
class Grid:
    """How a modality's latent lies in time.

    Attributes:
        channels: of a token that holds all cells of its place.
        slots: tokens of a moment.
        rate: moments a second.
        fold: latents [batch, ...] -> tokens [batch, moments * slots, channels].
        unfold: its inverse.
        lie: tokens [batch, moments * slots, width] -> the same as the modality's denoiser takes hidden states.
        stored: latents as they are stored -> as denoisers take them.
    """

    channels: int
    slots: int
    rate: float
    fold: Callable[[torch.Tensor], torch.Tensor]
    unfold: Callable[[torch.Tensor], torch.Tensor]
    lie: Callable[[torch.Tensor], torch.Tensor] = lambda tokens: tokens
    stored: Callable[[torch.Tensor], torch.Tensor] = lambda latents: latents


GRIDS: Final[dict[str, Grid]] = {
    "video": Grid(
        channels=192,
        slots=4,
        rate=8.0,
        fold=lambda z: rearrange(z, "b c f (h p) (w q) -> b (f h w) (c p q)", h=2, w=2),
        unfold=lambda t: rearrange(t, "b (f h w) (c p q) -> b c f (h p) (w q)", h=2, w=2, p=4, q=4),
        lie=lambda t: rearrange(t, "b (f h w) c -> b f h w c", h=2, w=2),
        stored=lambda z: z.transpose(1, 2),
    ),
    "audio": Grid(
        channels=64,
        slots=1,
        rate=16.0,
        fold=lambda z: rearrange(z, "b c h w -> b w (c h)"),
        unfold=lambda t: rearrange(t, "b w (c h) -> b c h w", h=4),
    ),
}


class PooledEnvironment(nn.Module):
    """Another environment's tokens, each replaced by the mean of all: it says what, never when.

    Args:
        inner: the environment.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.reads_latent = inner, inner.reads_latent

    def forward(self, seen: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """As the inner environment's."""
        tokens = self.inner(seen, level)
        return tokens.mean(1, keepdim=True).expand_as(tokens)


class LatentEnvironment(nn.Module):
    """Shows the noisy latent through an encoder of its own: CoDi's (Tang et al. 2023, section 3.3), with a sequence.

    Args:
        grid: of the modality.
    """

    reads_latent = True

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid, self.encoder = grid, EnvironmentEncoder(grid.channels, grid.slots)
        layer = nn.TransformerEncoderLayer(BRIDGE_WIDTH, 4, 2 * BRIDGE_WIDTH, 0.0, "gelu", batch_first=True)
        self.near, self.body = nn.Conv1d(BRIDGE_WIDTH, BRIDGE_WIDTH, 9, padding=4), nn.TransformerEncoder(layer, 2)

    def forward(self, seen: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Latents [batch, ...] -> [batch, tokens, BRIDGE_WIDTH]."""
        slots, tokens = self.grid.slots, self.encoder(self.grid.fold(seen), level)
        moments = (torch.arange(tokens.shape[1] // slots, device=tokens.device) + 0.5) / self.grid.rate
        sines = get_timestep_embedding(100 * moments, BRIDGE_WIDTH).to(tokens.dtype)
        tokens = tokens + repeat(sines, "t c -> (t s) c", s=slots)
        near = self.near(rearrange(tokens, "b (t s) c -> (b s) c t", s=slots))
        return self.body(tokens + rearrange(near, "(b s) c t -> b (t s) c", s=slots))  # type: ignore[no-any-return]


class AttentionBridge(Bridge):
    """A bridge that adds nothing at the same moment, nor weighs what it found: attention alone."""

    def __init__(self, sites: Mapping[str, int]) -> None:
        super().__init__(sites)
        self.to_added = nn.Identity()  # type: ignore[assignment]
        for reader in self.readers.values():
            reader.to_add = reader.dense = Nothing()


class Nothing(nn.Module):
    """Adds nothing."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Zero."""
        return hidden.new_zeros(())


class SharpBridge(Bridge):
    """A bridge that adds what stands between the two nearest moments, not what lies in a window about its own."""

    def prepare(self, tokens: Tokens) -> KeysValues:
        """See Bridge."""
        return replace(super().prepare(tokens), weighed=between)


class PlainBridge(SharpBridge):
    """A SharpBridge without the network that weighs what was read."""

    def __init__(self, sites: Mapping[str, int]) -> None:
        super().__init__(sites)
        for reader in self.readers.values():
            reader.dense = Nothing()


def between(queries: torch.Tensor, times: torch.Tensor, parts: tuple[int, ...]) -> torch.Tensor:
    """As `codi.bridge.nearness`: linear between the two moments about a position's own, the mean of what shares one."""
    shares = []
    for part in times.split(list(parts)):
        moments, place = part.unique(return_inverse=True)
        after = torch.searchsorted(moments, queries).clamp(1, len(moments) - 1)
        share = ((queries - moments[after - 1]) / (moments[after] - moments[after - 1])).clamp(0, 1)[:, None]
        held = functional.one_hot(place, len(moments)).to(times)
        mean = (held / held.sum(0)).T
        shares.append(mean[after - 1] * (1 - share) + mean[after] * share)
    return torch.cat(shares, 1)


class TimelessBridge(AttentionBridge):
    """An AttentionBridge without a clock."""

    def prepare(self, tokens: Tokens) -> KeysValues:
        """See Bridge."""
        assert tokens.times is not None
        return super().prepare(replace(tokens, times=torch.full_like(tokens.times, torch.nan)))

    def read(self, site: str, hidden: torch.Tensor, times: torch.Tensor, tokens: KeysValues) -> torch.Tensor:
        """See Bridge."""
        return super().read(site, hidden, torch.full_like(times, torch.nan), tokens)


class IndexBridge(Bridge):
    """A bridge whose clock numbers frames as if every clip had the rate of training.

    Attributes:
        frames: whether frames are what it reads ("tokens") or what reads ("queries").
    """

    frames = "tokens"

    def prepare(self, tokens: Tokens) -> KeysValues:
        """See Bridge."""
        assert tokens.times is not None
        times = numbered(tokens.times) if self.frames == "tokens" else tokens.times
        return super().prepare(replace(tokens, times=times))

    def read(self, site: str, hidden: torch.Tensor, times: torch.Tensor, tokens: KeysValues) -> torch.Tensor:
        """See Bridge."""
        return super().read(site, hidden, numbered(times) if self.frames == "queries" else times, tokens)


def numbered(times: torch.Tensor, rate: float = GRIDS["video"].rate) -> torch.Tensor:
    """Times of frames -> times that frames of those numbers had in training."""
    moments = times.unique()
    return times / (moments[1] - moments[0]) / rate


class PositionBridge(nn.Module):
    """Adds the partner's tokens of the same moment to every position, as positional encodings are added.

    Cross-modal conditioning as positional encoding (Ishii et al. 2024, section III-C). It stands at the sites of codi's
    bridges and starts at zero as they do.

    Args:
        sites: channels of each site.
    """

    weighed: Weighed = staticmethod(between)

    def __init__(self, sites: dict[str, int]) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(BRIDGE_WIDTH, BRIDGE_WIDTH), nn.SiLU())
        self.readers = nn.ModuleDict(
            {_key(site): nn.Linear(BRIDGE_WIDTH, channels) for site, channels in sites.items()}
        )
        for parameter in self.readers.parameters():
            nn.init.zeros_(parameter)

    def prepare(self, tokens: Tokens) -> Added:
        """What each token [batch, n, channels] would add."""
        assert tokens.times is not None
        return Added(self.embed(tokens.states), tokens.times, (len(tokens.times),), self.weighed)

    def read(self, site: str, hidden: torch.Tensor, times: torch.Tensor, prepared: Added) -> torch.Tensor:
        """[batch, positions, channels]: what the partner shows at the positions' times."""
        return self.readers[_key(site)](prepared.near(times))  # type: ignore[no-any-return]

    def has(self, site: str) -> bool:
        """Whether it stands at this attention module."""
        return _key(site) in self.readers


class WindowBridge(PositionBridge):
    """A PositionBridge that adds what lies in a window about a moment, as ours do."""

    weighed: Weighed = staticmethod(nearness)


def _key(site: str) -> str:
    return site.replace(".", "/")


class Bare(nn.Module):
    """Shows the noisy latent itself, and its level in a channel of its own.

    Args:
        grid: of the modality.
    """

    reads_latent = True

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, seen: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Latents [batch, ...] -> [batch, moments * slots, channels + 1]."""
        tokens = self.grid.fold(seen)
        return torch.cat([tokens, level.view(-1, 1, 1).expand(*tokens.shape[:2], 1).to(tokens)], dim=-1)


class Discriminator(nn.Module):
    """Whether a noisy clip and a noisy sound belong together: a logit.

    Args:
        frames: moments that both are brought to.
        width: of its layers.
    """

    def __init__(self, frames: int = 16, width: int = 160) -> None:
        super().__init__()
        self.frames, self.width = frames, width
        self.enter = nn.ModuleDict({name: nn.Linear(g.slots * g.channels, width) for name, g in GRIDS.items()})
        self.level = nn.ModuleDict({name: nn.Linear(width, width) for name in GRIDS})
        self.own = nn.ModuleDict({name: _stack(width) for name in GRIDS})
        self.both = nn.ModuleList([nn.Conv1d(2 * width, width, 1), *_stack(width)])
        self.leave = nn.Linear(2 * width, 1)

    def forward(self, shown: dict[str, torch.Tensor]) -> torch.Tensor:
        """By modality, what Bare shows of it -> logits [batch]."""
        hidden = torch.cat([self._seen(name, shown[name]) for name in GRIDS], dim=1)
        hidden = self.both[0](functional.silu(hidden))
        for layer in list(self.both)[1:]:
            hidden = hidden + layer(functional.silu(hidden))
        pooled = torch.cat([hidden.mean(-1), hidden.square().mean(-1)], dim=1)
        return self.leave(pooled)[:, 0]  # type: ignore[no-any-return]

    def _seen(self, name: str, tokens: torch.Tensor) -> torch.Tensor:
        level = get_timestep_embedding(1000 * tokens[:, 0, -1], self.width).to(tokens.dtype)
        columns = rearrange(tokens[..., :-1], "b (t s) c -> b t (s c)", s=GRIDS[name].slots)
        hidden = (self.enter[name](columns) + self.level[name](level)[:, None]).transpose(1, 2)
        for layer in self.own[name]:  # type: ignore[attr-defined]
            hidden = hidden + layer(functional.silu(hidden))
        return reduce(hidden, "b c (f s) -> b c f", "mean", f=self.frames)


def _stack(width: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in (1, 2, 4))


class DiscriminatedDenoiser:
    """A denoiser moved by the gradient of a discriminator (Hayakawa et al. 2024, "MMDisCo", equation 7).

    Args:
        name: the modality.
        alone: its denoiser.
        discriminator: shared by both.
    """

    def __init__(self, name: str, alone: Denoiser, discriminator: Discriminator) -> None:
        self.name, self.alone, self.discriminator = name, alone, discriminator
        self.bare = Bare(GRIDS[name])

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """See `codi.modality.Denoiser`."""
        made = self.alone(latent, level, prompt, clock)
        if partners is None:
            return made
        return Denoised(lambda: made.sample + self.nudge(latent, level, partners))  # nobody reads its features

    def nudge(self, latent: torch.Tensor, level: torch.Tensor, partners: Tokens) -> torch.Tensor:
        """What the gradient of the logit adds to the velocity; differentiable where gradients are on.

        The noise moves by -level x gradient, and with it the velocity (noise - latent) / (1 - level).
        """
        learning = torch.is_grad_enabled()
        with torch.enable_grad():
            own = latent.detach().requires_grad_()
            (other,) = (name for name in GRIDS if name != self.name)
            logit = self.discriminator({self.name: self.bare(own, level), other: partners.states})
            gradient = torch.autograd.grad(logit.sum(), own, create_graph=learning)[0]
        spread = level.view(-1, *([1] * (latent.ndim - 1))).to(latent.dtype)
        return -gradient * spread / (1 - spread).clamp_min(0.01)
