"""What couples two experts. Each join is a pair of things: what a modality shows, and what reads it."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import get_timestep_embedding
from einops import rearrange, reduce, repeat
from torch import nn
from torch.nn import functional

from codi.ablations.experts import ExpertDenoiser, Medium, feature_channels
from codi.ablations.processes import Process
from codi.bridge import BRIDGE_WIDTH, EnvironmentEncoder
from codi.networks.clip_transformer import Clock, TimedAttention, patches
from codi.port import Port
from codi.types import Denoised, Tokens


class FeatureEnvironment(nn.Module):
    """Shows what the frozen expert knows: codi's environment encoder.

    Args:
        medium: whose expert it is.
        pooled: show the mean of the tokens alone.
    """

    reads_latent = False

    def __init__(self, medium: Medium, pooled: bool = False) -> None:
        super().__init__()
        self.encoder, self.slots = EnvironmentEncoder(feature_channels(medium), medium.slots), medium.slots
        self.pooled = pooled

    def forward(self, seen: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Features [batch, tokens, channels] -> [batch, tokens, BRIDGE_WIDTH]."""
        return _pooled(self.encoder(seen, level), self.pooled)

    def times(self, columns: torch.Tensor) -> torch.Tensor:
        """Times of the tokens, from those of the columns."""
        return _times(columns, self.slots, self.pooled)


class LatentEnvironment(nn.Module):
    """Shows the noisy latent through an encoder of its own: CoDi's (Tang et al. 2023, section 3.3), with a sequence.

    Args: as of FeatureEnvironment.
    """

    reads_latent = True

    def __init__(self, medium: Medium, pooled: bool = False) -> None:
        super().__init__()
        self.patch, self.slots, self.pooled = medium.patch, medium.slots, pooled
        self.encoder = EnvironmentEncoder(medium.channels * medium.patch**2, medium.slots)
        self.rate = medium.rate
        layer = nn.TransformerEncoderLayer(BRIDGE_WIDTH, 4, 2 * BRIDGE_WIDTH, 0.0, "gelu", batch_first=True)
        self.near = nn.Conv1d(BRIDGE_WIDTH, BRIDGE_WIDTH, 9, padding=4)
        self.body = nn.TransformerEncoder(layer, 2)

    def forward(self, seen: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Latents [batch, channels, columns, side, side] -> [batch, tokens, BRIDGE_WIDTH]."""
        tokens = self.encoder(patches(seen, self.patch), level)
        moments = (torch.arange(seen.shape[2], device=seen.device) + 0.5) / self.rate
        sines = get_timestep_embedding(100 * moments, BRIDGE_WIDTH).to(tokens.dtype)
        tokens = tokens + repeat(sines, "t c -> (t s) c", s=self.slots)
        near = self.near(rearrange(tokens, "b (t s) c -> (b s) c t", s=self.slots))
        tokens = tokens + rearrange(near, "(b s) c t -> b (t s) c", s=self.slots)
        return _pooled(self.body(tokens), self.pooled)

    def times(self, columns: torch.Tensor) -> torch.Tensor:
        """Times of the tokens, from those of the columns."""
        return _times(columns, self.slots, self.pooled)


def _pooled(tokens: torch.Tensor, pooled: bool) -> torch.Tensor:
    return tokens.mean(1, keepdim=True) if pooled else tokens


def _times(columns: torch.Tensor, slots: int, pooled: bool) -> torch.Tensor:
    return columns.new_full((1,), torch.nan) if pooled else repeat(columns, "t -> (t s)", s=slots)


class PositionBridge(nn.Module):
    """Adds the partner's tokens of the same moment to every position, as positional encodings are added.

    Cross-modal conditioning as positional encoding (Ishii et al. 2024, section III-C). It stands at the sites of codi's
    bridges and starts at zero as they do.

    Args:
        sites: channels of each site.
    """

    def __init__(self, sites: dict[str, int]) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(BRIDGE_WIDTH, BRIDGE_WIDTH), nn.SiLU())
        self.readers = nn.ModuleDict(
            {_key(site): nn.Linear(BRIDGE_WIDTH, channels) for site, channels in sites.items()}
        )
        for parameter in self.readers.parameters():
            nn.init.zeros_(parameter)

    def prepare(self, tokens: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        """Moments [n], and the mean of the tokens at each [batch, n, channels]."""
        assert tokens.times is not None
        moments, place = tokens.times.unique(return_inverse=True)
        share = functional.one_hot(place, len(moments)).to(tokens.states.dtype)
        return moments, torch.einsum("bkc,kn->bnc", self.embed(tokens.states), share / share.sum(0))

    def read(
        self, site: str, hidden: torch.Tensor, times: torch.Tensor, prepared: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """[batch, positions, channels]: what the partner shows at the positions' times, between its tokens linear."""
        moments, states = prepared
        after = torch.searchsorted(moments, times).clamp(1, len(moments) - 1)
        share = (times - moments[after - 1]) / (moments[after] - moments[after - 1])
        share = share.clamp(0, 1).to(states.dtype)[:, None]
        return self.readers[_key(site)](states[:, after - 1] * (1 - share) + states[:, after] * share)  # type: ignore[no-any-return]

    def has(self, site: str) -> bool:
        """Whether it stands at this attention module."""
        return _key(site) in self.readers


def _key(site: str) -> str:
    return site.replace(".", "/")


class Bare(nn.Module):
    """Shows the noisy latent itself, and its level in a channel of its own."""

    reads_latent = True

    def forward(self, seen: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Latents [batch, channels, columns, side, side] -> [batch, columns, channels * side * side + 1]."""
        columns = rearrange(seen, "b c f h w -> b f (c h w)")
        return torch.cat([columns, level.view(-1, 1, 1).expand(*columns.shape[:2], 1).to(columns)], dim=-1)

    def times(self, columns: torch.Tensor) -> torch.Tensor:
        """Those of the columns."""
        return columns


class Discriminator(nn.Module):
    """Whether a noisy clip and a noisy sound belong together: a logit.

    Args:
        media: the two, in the order of its arguments.
        frames: moments that both are brought to.
    """

    def __init__(self, media: dict[str, Medium], frames: int = 16, width: int = 160) -> None:
        super().__init__()
        self.frames, self.width, self.names = frames, width, tuple(media)
        sizes = {name: medium.channels * medium.side**2 for name, medium in media.items()}
        self.enter = nn.ModuleDict({name: nn.Linear(size, width) for name, size in sizes.items()})
        self.level = nn.ModuleDict({name: nn.Linear(width, width) for name in media})
        self.own = nn.ModuleDict({name: _stack(width) for name in media})
        self.both = nn.ModuleList([nn.Conv1d(2 * width, width, 1), *_stack(width)])
        self.leave = nn.Linear(2 * width, 1)

    def forward(self, shown: dict[str, torch.Tensor]) -> torch.Tensor:
        """By modality, [batch, columns, channels] as Bare shows it -> logits [batch]."""
        hidden = torch.cat([self._seen(name, shown[name]) for name in self.names], dim=1)
        hidden = self.both[0](functional.silu(hidden))
        for layer in list(self.both)[1:]:
            hidden = hidden + layer(functional.silu(hidden))
        pooled = torch.cat([hidden.mean(-1), hidden.square().mean(-1)], dim=1)
        return self.leave(pooled)[:, 0]  # type: ignore[no-any-return]

    def _seen(self, name: str, columns: torch.Tensor) -> torch.Tensor:
        level = get_timestep_embedding(1000 * columns[:, 0, -1], self.width).to(columns.dtype)
        hidden = (self.enter[name](columns[..., :-1]) + self.level[name](level)[:, None]).transpose(1, 2)
        for layer in self.own[name]:  # type: ignore[attr-defined]
            hidden = hidden + layer(functional.silu(hidden))
        return reduce(hidden, "b c (f s) -> b c f", "mean", f=self.frames)


def _stack(width: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in (1, 2, 4))


class DiscriminatedDenoiser:
    """An expert moved by the gradient of a discriminator (Hayakawa et al. 2024, "MMDisCo", equation 7).

    Args:
        name: the modality.
        alone: the expert.
        process: its own.
        discriminator: shared by both.
    """

    def __init__(self, name: str, alone: ExpertDenoiser, process: Process, discriminator: Discriminator) -> None:
        self.name, self.alone, self.process, self.discriminator = name, alone, process, discriminator
        self.bare = Bare()

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
        return Denoised(made.sample + self.process.nudge(level, self.gradient(latent, level, partners)), made.features)

    def gradient(self, latent: torch.Tensor, level: torch.Tensor, partners: Tokens) -> torch.Tensor:
        """Of the logit by the latent; differentiable where gradients are on."""
        learning = torch.is_grad_enabled()
        with torch.enable_grad():
            own = latent.detach().requires_grad_()
            (other,) = (name for name in self.discriminator.names if name != self.name)
            logit = self.discriminator({self.name: self.bare(own, level), other: partners.states})
            return torch.autograd.grad(logit.sum(), own, create_graph=learning)[0]


class Unified(nn.Module):
    """One transformer over both modalities' tokens, each at its own level: UniDiffuser (Bao et al. 2023).

    Args:
        media: the two.
        width, layers: of the shared blocks.
    """

    def __init__(self, media: dict[str, Medium], width: int = 288, layers: int = 6, prompt_width: int = 256) -> None:
        super().__init__()
        self.media = media
        self.ends = nn.ModuleDict({name: medium.network(width, 0) for name, medium in media.items()})
        for end in self.ends.values():
            end.modulation = nn.Identity()  # of blocks, which it has none of
        self.kind = nn.ParameterDict({name: torch.randn(width) * 0.02 for name in media})
        self.level = nn.ModuleDict({name: nn.Sequential(nn.SiLU(), nn.Linear(width, width)) for name in media})
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.clock = Clock()
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(
                width,
                width // 32,
                32,
                cross_attention_dim=prompt_width,
                activation_fn="gelu-approximate",
                attention_bias=True,
                norm_type="ada_norm_single",
                norm_elementwise_affine=False,
            )
            for _ in range(layers)
        )
        for block in self.blocks:
            block.attn1.set_processor(TimedAttention(self.clock))  # type: ignore[operator, union-attr]

    def forward(
        self, latents: dict[str, torch.Tensor], levels: dict[str, torch.Tensor], prompt: Tokens, times: dict[str, Any]
    ) -> dict[str, torch.Tensor]:
        """Velocities of the modalities that are there: both, or one alone.

        Args:
            latents, levels, times: by modality; times are those of its columns.
            prompt: for both.
        """
        opened = {name: self.ends[name].opened(z, 1000 * levels[name], times[name]) for name, z in latents.items()}  # type: ignore[operator]
        hidden = torch.cat([state.hidden + self.kind[name] for name, state in opened.items()], dim=1)
        told = torch.stack([self.level[name](state.embedded) for name, state in opened.items()]).sum(0)
        self.clock.times = torch.cat([state.times for state in opened.values()])
        for block in self.blocks:
            hidden = block(hidden, encoder_hidden_states=prompt.states, timestep=self.modulation(told))
        parts = hidden.split([state.hidden.shape[1] for state in opened.values()], dim=1)
        pairs = zip(opened.items(), parts, strict=True)
        return {name: self.ends[name].closed(state, part) for (name, state), part in pairs}  # type: ignore[operator]


class UnifiedDenoiser:
    """One modality of a unified model as a codi Denoiser; its partner comes as `Bare` shows it.

    Args:
        name: the modality.
        model: the unified model.
    """

    def __init__(self, name: str, model: Unified) -> None:
        self.name, self.model, self.port = name, model, Port(model, None)

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """See `codi.modality.Denoiser`."""
        latents, levels, times = {self.name: latent}, {self.name: level}, {self.name: clock}
        if partners is not None:
            (other,) = (name for name in self.model.media if name != self.name)
            side = self.model.media[other].side
            columns, told = partners.states[..., :-1], partners.states[:, 0, -1]
            latents[other] = rearrange(columns, "b f (c h w) -> b c f h w", h=side, w=side)
            assert partners.times is not None
            levels[other], times[other] = told.to(level.dtype), partners.times
        return Denoised(self.both(latents, levels, prompt, times)[self.name])

    def both(
        self,
        latents: dict[str, torch.Tensor],
        levels: dict[str, torch.Tensor],
        prompt: Tokens,
        times: dict[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """One pass; arguments and result as of `Unified`."""
        order = {name: latents[name] for name in self.model.media if name in latents}
        with self.port.reading(prompt, None, torch.zeros):
            velocities: dict[str, torch.Tensor] = self.model(order, levels, prompt, times)
        return velocities
