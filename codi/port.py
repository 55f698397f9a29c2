"""Where prompts and bridges enter a denoiser built of diffusers' attention: processors that leave no trace.

A processor is a plain object: it refers to the weights of a `Bridge` and owns none, so the base's state dict, its LoRA
and its checkpoint are what they were. It stands in the model during a pass alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import nn

from codi.attention import attend
from codi.bridge import Bridge, KeysValues
from codi.types import Tokens

Times = Callable[[int], torch.Tensor]
"""Positions at a site -> their times, [positions] seconds in float64."""


class Port:
    """The shared state of one denoiser's processors during one pass.

    Attributes:
        bridge: whose readers stand at the sites; None where the modality has none.
    """

    def __init__(self, model: nn.Module, bridge: Bridge | None) -> None:
        self.bridge = bridge
        self.prompt_bias: torch.Tensor | None = None
        self.tokens: KeysValues | None = None
        self.times: Times | None = None
        self._sites = [(attention, PortProcessor(name, self)) for name, attention in cross_attentions(model)]

    @contextmanager
    def reading(self, prompt: Tokens, partners: Tokens | None, times: Times) -> Iterator[None]:
        """State for one pass: the prompt's weights, the partners' tokens (None: bridge off) and the sites' clock.

        The processors stand in the model for as long as the pass: several denoisers may run one model.
        """
        # One tensor for sites of as many positions: what is computed from a clock is found again by it.
        self.prompt_bias, self.times = prompt.bias, cache(times)
        self.tokens = self.bridge.prepare(partners) if self.bridge is not None and partners is not None else None
        former = [attention.processor for attention, _ in self._sites]
        try:
            for attention, processor in self._sites:
                attention.set_processor(processor)
            yield
        finally:
            for (attention, _), processor in zip(self._sites, former, strict=True):
                attention.set_processor(processor)
            self.prompt_bias = self.tokens = self.times = None


def cross_attentions(model: nn.Module) -> Iterator[tuple[str, Attention]]:
    """The prompt's cross-attentions by name: self-attentions are none."""
    for name, module in model.named_modules():
        if isinstance(module, Attention) and module.is_cross_attention:
            yield name, module


class PortProcessor:
    """diffusers attention processor: the prompt's cross-attention, and the bridge's where one is read."""

    def __init__(self, site: str, port: Port) -> None:
        self.site, self.port = site, port

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """[batch, positions, channels] -> the same shape."""
        query, key, value = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        query, key, value = (rearrange(x, "b n (h c) -> b h n c", h=attn.heads) for x in (query, key, value))
        mixed = attend(query, key, value, self._bias())
        out = attn.to_out[1](attn.to_out[0](rearrange(mixed, "b h n c -> b n (h c)")))
        return out if self.port.tokens is None else out + self._read(hidden_states)

    def _bias(self) -> torch.Tensor | None:
        bias = self.port.prompt_bias
        return None if bias is None else bias[:, None, None]

    def _read(self, hidden: torch.Tensor) -> torch.Tensor | float:
        port = self.port
        if port.bridge is None or port.tokens is None or port.times is None or not port.bridge.has(self.site):
            return 0.0
        return port.bridge.read(self.site, hidden, port.times(hidden.shape[1]), port.tokens)
