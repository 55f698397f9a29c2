"""Layers that the UNets share: cross-attention to one token, and the transformer around it."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary


class OneTokenAttention(nn.Module):
    """Cross-attention to a context of one token.

    The softmax over one key is 1, so `attn2(x) = to_out(to_v(context))` whatever x is: the query, the key and the norm
    before them are dead weight, and what is left is computed once for a context and kept as long as the context lives.
    Exact, not an approximation. `to_out` is a list so that the keys are those of diffusers' Attention.
    """

    def __init__(self, context: int, channels: int) -> None:
        super().__init__()
        self.to_v = nn.Linear(context, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])
        self._kept = WeakTensorKeyDictionary()

    def forward(self, hidden: torch.Tensor, encoder_hidden_states: torch.Tensor, **unused: Any) -> torch.Tensor:
        """What the context adds at every position.

        Args:
            hidden: [batch * frames, positions, channels]; only its batch is read.
            encoder_hidden_states: [batch, 1, context].

        Returns:
            [batch * frames, 1, channels].
        """
        value = self._value(encoder_hidden_states)
        return value.repeat_interleave(hidden.shape[0] // value.shape[0], dim=0)

    def forget(self) -> None:
        """Keep nothing, as after a change of the weights."""
        self._kept = WeakTensorKeyDictionary()

    def _value(self, context: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            return self.to_out[0](self.to_v(context))
        if context not in self._kept:
            self._kept[context] = self.to_out[0](self.to_v(context))
        return self._kept[context]

    def __getstate__(self) -> dict[str, Any]:
        """What is kept belongs to one process and one context."""
        return {**super().__getstate__(), "_kept": WeakTensorKeyDictionary()}  # type: ignore[misc]


def transformer(channels: int, heads: int, context: int, one_token: bool) -> Transformer2DModel:
    """The SpatialTransformer of latent diffusion (Rombach et al. 2022, appendix E): diffusers' Transformer2DModel."""
    model = Transformer2DModel(heads, channels // heads, channels, cross_attention_dim=context)
    return to_one_token(model) if one_token else model


def to_one_token(model: nn.Module) -> Any:
    """Put OneTokenAttention at every cross-attention below a module, and drop the norms before them."""
    for module in list(model.modules()):
        if isinstance(module, BasicTransformerBlock):
            value = module.attn2.to_v
            module.attn2 = OneTokenAttention(value.in_features, value.out_features)
            module.norm2 = nn.Identity()
    return model


def attend(model: Transformer2DModel, hidden: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """[batch * frames, channels, height, width] -> the same shape; `context` [batch, tokens, width]."""
    if not isinstance(model.transformer_blocks[0].attn2, OneTokenAttention):
        context = context.repeat_interleave(hidden.shape[0] // context.shape[0], dim=0)
    return model(hidden, encoder_hidden_states=context, return_dict=False)[0]
