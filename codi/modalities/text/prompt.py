"""Text -> tokens of the shared space: a frozen sentence encoder and a small trained resampler."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from codi.components import component
from codi.conditioning import SHARED_TOKENS, SHARED_WIDTH
from codi.networks.resampler import Resampler


@component
class TextPromptEncoder(ModelMixin, ConfigMixin):
    """Hidden states of the sentence encoder -> K tokens; text is the pivot that the other encoders align to."""

    @register_to_config
    def __init__(
        self, in_channels: int = 384, width: int = SHARED_WIDTH, tokens: int = SHARED_TOKENS, layers: int = 2
    ) -> None:
        super().__init__()
        self.resampler = Resampler(in_channels, width, tokens, layers)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Tokens of a batch of texts.

        Args:
            hidden: [batch, length, in_channels] last hidden states of the sentence encoder.
            mask: [batch, length], 1 at words and 0 at padding.

        Returns:
            [batch, K, width].
        """
        return self.resampler(hidden, padding=mask == 0)
