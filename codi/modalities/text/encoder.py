"""The frozen sentence encoder (all-MiniLM-L6-v2): words -> hidden states, for prompts and for the text autoencoder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from transformers import BertModel, PreTrainedTokenizerBase

from codi.types import CodiWarning

MAX_WORDS = 64
"""Word pieces that are read of a text; the rest is cut, with a warning."""


@torch.no_grad()
def hidden_states(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, encoder: BertModel, length: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden states of a batch of texts.

    Args:
        texts: at least one text.
        length: pad to this many word pieces; to the longest text where None.

    Returns:
        [batch, length, 384] states in float32 and [batch, length] mask, 1 at word pieces.
    """
    padding = "max_length" if length else True
    words = tokenizer(
        list(texts), padding=padding, truncation=True, max_length=length or MAX_WORDS, return_tensors="pt"
    ).to(encoder.device)
    for text, read in zip(texts, words.encodings or (), strict=False):
        if read.overflowing:
            warnings.warn(
                CodiWarning(f"text {text[:40]!r}: only its first {MAX_WORDS} word pieces are read"), stacklevel=2
            )
    states = encoder(input_ids=words.input_ids, attention_mask=words.attention_mask).last_hidden_state
    return states.float(), words.attention_mask
