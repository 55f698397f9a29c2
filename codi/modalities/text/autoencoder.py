"""The text autoencoder: hidden states of the sentence encoder <-> 8 latent tokens <-> words."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from codi.components import component
from codi.modalities.text.denoiser import LATENT_CHANNELS, LATENT_TOKENS
from codi.networks.resampler import Resampler

START, END = 101, 102
"""The sentence encoder's [CLS] and [SEP]: a text starts after the one and ends before the other."""


@component
class TextAutoencoder(ModelMixin, ConfigMixin):
    """A resampler in, a small autoregressive transformer out.

    Args:
        vocabulary: ids of the word pieces that the decoder can say, in the sentence encoder's vocabulary.
        length: most word pieces of a decoded text.
        shift: per-channel mean of the raw latents; scale: reciprocal of their standard deviation.
    """

    @register_to_config
    def __init__(
        self,
        vocabulary: tuple[int, ...] = (START, END),
        hidden_channels: int = 384,
        width: int = 160,
        layers: int = 2,
        heads: int = 4,
        length: int = 32,
        shift: tuple[float, ...] | None = None,
        scale: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.resampler = Resampler(hidden_channels, width, LATENT_TOKENS, layers=1)
        self.to_latent = nn.Linear(width, LATENT_CHANNELS)
        self.from_latent = nn.Linear(LATENT_CHANNELS, width)
        self.slots = nn.Parameter(torch.randn(LATENT_TOKENS, width) * 0.02)
        self.words = nn.Embedding(len(vocabulary), width)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        layer = nn.TransformerDecoderLayer(width, heads, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers)
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(vocabulary)))

    def encode_raw(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[batch, length, 384] and [batch, length] -> raw latents [batch, 8, 16], bounded by +-3."""
        return 3 * torch.tanh(self.to_latent(self.resampler(hidden, padding=mask == 0)) / 3)

    def encode(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """As `encode_raw`, with zero mean and unit variance a channel."""
        shift, scale = self._statistics(hidden)
        return (self.encode_raw(hidden, mask) - shift) * scale

    def logits(self, raw: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Next-word logits.

        Args:
            raw: [batch, 8, 16] raw latents.
            words: [batch, n] indices into the vocabulary, from the start token on.

        Returns:
            [batch, n, vocabulary].
        """
        count = words.shape[1]
        causal = nn.Transformer.generate_square_subsequent_mask(count, device=words.device)
        memory = self.from_latent(raw) + self.slots
        hidden = self.decoder(self.words(words) + self.places[:count], memory, tgt_mask=causal, tgt_is_causal=True)
        return self.leave(hidden)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> list[list[int]]:
        """Normalised latents -> ids of word pieces, greedily, without start and end."""
        shift, scale = self._statistics(latents)
        raw = latents / scale + shift
        vocabulary = list(self.config.vocabulary)
        words = torch.full((len(raw), 1), vocabulary.index(START), device=raw.device)
        end = vocabulary.index(END)
        for _ in range(self.config.length - 1):
            words = torch.cat([words, self.logits(raw, words)[:, -1:].argmax(-1)], dim=1)
            if bool((words == end).any(dim=1).all()):
                break
        return [_until_end([vocabulary[w] for w in row[1:]]) for row in words.tolist()]

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shift = like.new_tensor(self.config.shift or (0.0,) * LATENT_CHANNELS)
        scale = like.new_tensor(self.config.scale or (1.0,) * LATENT_CHANNELS)
        return shift, scale


def _until_end(ids: list[int]) -> list[int]:
    return ids[: ids.index(END)] if END in ids else ids
