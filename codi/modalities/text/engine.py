"""Text on the tensor side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from codi.modalities.text.denoiser import LATENT_CHANNELS, LATENT_TOKENS, TextDenoiser
from codi.modalities.text.encoder import hidden_states
from codi.modality import Whole
from codi.types import ClipSpec


class TextEngine(Whole):
    """Captions; latents are [8, 16] and stand at no time."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.tokenizer = parts.get("tokenizer")
        self.encoder = parts.get("text_encoder")
        self.prompt_encoder = parts.get("text_prompt_encoder")
        self.autoencoder = parts.get("text_autoencoder")
        self.environment = parts.get("text_environment_encoder")
        transformer = parts.get("text_denoiser")
        if transformer is not None:
            self.denoiser = TextDenoiser(transformer, parts.get("text_bridge"))

    def prompt(self, media: Sequence[str]) -> torch.Tensor:
        """Texts -> tokens [batch, K, width]."""
        assert self.prompt_encoder is not None
        hidden, mask = self._read(media)
        return self.prompt_encoder(hidden.to(self.prompt_encoder.dtype), mask)

    def encode(self, media: str, clip: ClipSpec) -> torch.Tensor:
        """A text -> [1, 8, 16]."""
        assert self.autoencoder is not None
        hidden, mask = self._read([media])
        return self.autoencoder.encode(hidden.to(self.autoencoder.dtype), mask)

    def decode(self, latent: torch.Tensor, clip: ClipSpec) -> list[str]:
        """Latents -> captions."""
        assert self.autoencoder is not None and self.tokenizer is not None
        return [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in self.autoencoder.decode(latent)]

    def latent_shape(self, clip: ClipSpec) -> tuple[int, ...]:
        """(8, 16)."""
        return (LATENT_TOKENS, LATENT_CHANNELS)

    def clock(self, clip: ClipSpec, at: float | None = None) -> torch.Tensor:
        """NaN: a caption is about the whole clip."""
        return torch.full((LATENT_TOKENS,), torch.nan, dtype=torch.float64)

    def token_times(self, clock: torch.Tensor) -> torch.Tensor:
        """NaN."""
        return clock

    def _read(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.tokenizer is not None and self.encoder is not None
        return hidden_states(texts, self.tokenizer, self.encoder)
