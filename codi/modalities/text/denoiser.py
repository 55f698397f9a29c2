"""The text denoiser: a small transformer over the latent tokens of a caption."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from codi.bridge import Bridge
from codi.components import component
from codi.port import Port, cross_attentions
from codi.types import Denoised, Tokens

LATENT_TOKENS = 8
LATENT_CHANNELS = 16


@component
class TextTransformer(ModelMixin, ConfigMixin):
    """diffusers' transformer blocks over [batch, 8, 16] latents."""

    @register_to_config
    def __init__(
        self,
        channels: int = LATENT_CHANNELS,
        tokens: int = LATENT_TOKENS,
        width: int = 192,
        layers: int = 4,
        heads: int = 4,
        cross_attention_dim: int = 256,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, width)
        self.places = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(width, heads, width // heads, cross_attention_dim=cross_attention_dim)
            for _ in range(layers)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, channels))

    def forward(
        self, latent: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """[batch, tokens, channels] -> the prediction and the last hidden states [batch, tokens, width]."""
        hidden = self.enter(latent) + self.places
        hidden = hidden + self.level(get_timestep_embedding(timestep, hidden.shape[-1]).to(hidden.dtype))[:, None]
        for block in self.blocks:
            hidden = block(hidden, encoder_hidden_states=encoder_hidden_states)
        return self.leave(hidden), hidden


class TextDenoiser:
    """Latents [batch, 8, 16]; every token is global, its clock is NaN."""

    def __init__(self, transformer: TextTransformer, bridge: Bridge | None = None) -> None:
        self.model = transformer
        self.port = Port(transformer, bridge)

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """One pass; see `UNetDenoiser.__call__`."""
        with self.port.reading(prompt, partners, lambda n: clock):
            sample, hidden = self.model(latent, 1000 * level, prompt.states)
        return Denoised(sample, torch.cat([hidden, latent], dim=-1))


def bridge_sites(transformer: TextTransformer) -> dict[str, int]:
    """All blocks but the first."""
    return {
        name: module.query_dim for name, module in cross_attentions(transformer) if not name.startswith("blocks.0.")
    }
