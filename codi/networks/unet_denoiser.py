"""A diffusers UNet as a denoiser: one pass with or without its bridge, and its feature tap."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from codi.bridge import Bridge
from codi.port import Port, cross_attentions
from codi.types import Denoised, Tokens

SIDE = 8
"""Cells of a side of the pictures and frames that environment encoders know."""


def bridge_sites(model: nn.Module) -> dict[str, int]:
    """Where readers stand: the prompt's cross-attentions of the middle and the decoder, with their channels.

    The encoder is left alone: it is then the same with bridges on and off, and the skips carry no partner.
    """
    return {name: module.query_dim for name, module in cross_attentions(model) if not name.startswith("down_blocks")}


class UNetDenoiser(ABC):
    """Runs a UNet through its port; subclasses say how their latent lies in space and time.

    Args:
        unet: UNet2DConditionModel; its timestep is 1000 x level.
        bridge: the readers; None where the bundle has none.
    """

    def __init__(self, unet: nn.Module, bridge: Bridge | None = None) -> None:
        self.model = unet
        self.port = Port(unet, bridge)

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """One pass.

        Args:
            latent: [batch, ...] at `level`.
            level: [batch] from 0 (clean) to 1 (noise).
            prompt: [batch, K, width] tokens of the shared space.
            clock: times of the columns or frames of the latent, seconds in float64, NaN where it has none.
            partners: environment tokens of the others; None is the bridge-off pass.

        Returns:
            The prediction, of the latent's shape, and features of the pass with the latent beside them.
        """
        tapped: list[torch.Tensor] = []
        last = self.model.up_blocks[-1]  # type: ignore[union-attr, operator, index]
        hook = last.register_forward_hook(lambda module, inputs, output: tapped.append(output))  # type: ignore[union-attr]
        with self.port.reading(prompt, partners, lambda n: self.site_times(n, latent, clock)):
            try:
                sample = self.model(latent, 1000 * level, encoder_hidden_states=prompt.states).sample
            finally:
                hook.remove()
        return Denoised(sample, self.features(tapped[0], latent))

    @abstractmethod
    def site_times(self, positions: int, latent: torch.Tensor, clock: torch.Tensor) -> torch.Tensor:
        """Times of all positions of a site that sees `positions` of them."""

    @abstractmethod
    def features(self, tapped: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """The tap and the latent, time kept and space folded into channels: [batch, positions, channels]."""


def picture_patches(tapped: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
    """[n, c, h, w] features and [n, d, h, w] latents -> [n, 4, 16 (c + d)]: one token a quarter of the picture.

    Environment encoders know 8x8: pictures of another size are averaged to that.
    """
    both = pooled(torch.cat([tapped, latent], dim=1), SIDE)
    return rearrange(both, "n c (h p) (w q) -> n (h w) (c p q)", h=2, w=2)


def pooled(maps: torch.Tensor, side: int) -> torch.Tensor:
    """[..., h, w] -> [..., side, side], means."""
    if maps.shape[-2:] == (side, side):
        return maps
    return functional.adaptive_avg_pool2d(maps.flatten(0, -4), side).unflatten(0, maps.shape[:-3])
