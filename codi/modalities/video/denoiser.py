"""The video denoiser: a transformer over all patches of all frames."""

from __future__ import annotations

import torch
from einops import rearrange, repeat

from codi.bridge import Bridge
from codi.networks.clip_transformer import ClipTransformer
from codi.port import Port
from codi.types import Denoised, Tokens

SLOTS = 4
"""Environment tokens of a frame: its quarters."""


class VideoDenoiser:
    """Latents [batch, 12, frames, 8, 8]; the clock holds the middle of each frame."""

    def __init__(self, transformer: ClipTransformer, bridge: Bridge | None = None) -> None:
        self.transformer = transformer
        self.port = Port(transformer, bridge)
        self.port.inject()

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """One pass; see `UNetDenoiser.__call__`."""
        with self.port.reading(prompt, partners, lambda n: repeat(clock, "f -> (f n)", n=n // len(clock))):
            sample, hidden = self.transformer(latent, 1000 * level, prompt.states, clock)
        return Denoised(sample, _quarters(hidden, latent))

    def noise(self, white: torch.Tensor) -> torch.Tensor:
        """White noise, as it is."""
        return white


def _quarters(hidden: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
    """Hidden states and the latent, the space of each quarter folded: [batch, frames * 4, channels]."""
    shown = rearrange(hidden, "b f (h p) (w q) c -> b (f h w) (c p q)", h=2, w=2)
    cells = rearrange(latent, "b c f (h p) (w q) -> b (f h w) (c p q)", h=2, w=2)
    return torch.cat([shown, cells.to(shown.dtype)], dim=-1)
