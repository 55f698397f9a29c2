"""Text on the tensor side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch.nn.utils.rnn import pad_sequence

from codi.modalities.text.denoiser import LATENT_CHANNELS, LATENT_TOKENS, TextDenoiser
from codi.modalities.text.encoder import hidden_states
from codi.modality import Whole
from codi.types import ClipSpec

REMEMBERED: Final = 256
"""Texts whose hidden states are kept, so that what is said twice is read once."""


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
        self._states: dict[str, torch.Tensor] = {}

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
        """Hidden states [batch, length, 384] and mask [batch, length]; of texts read lately, what was read then."""
        assert self.tokenizer is not None and self.encoder is not None
        fresh = [text for text in dict.fromkeys(texts) if text not in self._states]
        if fresh:
            hidden, mask = hidden_states(fresh, self.tokenizer, self.encoder)
            states = [row[: int(words.sum())] for row, words in zip(hidden, mask, strict=True)]
            full = len(self._states) >= REMEMBERED
            known = {t: self._states[t] for t in texts if t in self._states} if full else self._states
            self._states = known | dict(zip(fresh, states, strict=True))
        rows = [self._states[text] for text in texts]
        masks = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
        return pad_sequence(rows, batch_first=True), pad_sequence(masks, batch_first=True)
