"""Prompts of any modalities -> the tokens that a denoiser attends to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from codi.modality import Engine
from codi.types import Tokens

SHARED_WIDTH = 256
SHARED_TOKENS = 8


def mixed(
    inputs: Mapping[str, Sequence[Any]], engines: Mapping[str, Engine], weights: Mapping[str, float], samples: int
) -> Tokens:
    """Tokens of all inputs, one after another, each with the logarithm of its weight as attention bias.

    Args:
        inputs: media by modality, at least one.
        engines: by modality.
        weights: by modality, 1 where it is not named; 0 takes the input out.
        samples: copies of the prompt.

    Returns:
        states [samples, inputs * K, width] and bias [samples, inputs * K].
    """
    states, biases = [], []
    for name, media in inputs.items():
        tokens = engines[name].prompt(media).flatten(0, 1)
        weight = weights.get(name, 1.0)
        states.append(tokens)
        biases.append(tokens.new_full(tokens.shape[:1], math.log(weight) if weight > 0 else -torch.inf))
    bias = torch.cat(biases)
    if not bias.isfinite().any():
        return null(samples, bias)
    return Tokens(torch.cat(states).expand(samples, -1, -1), None, bias.expand(samples, -1))


def null(samples: int, like: torch.Tensor) -> Tokens:
    """The null prompt: tokens of zeros, which the denoisers have met in training as "nothing was said"."""
    return Tokens(like.new_zeros(samples, SHARED_TOKENS, SHARED_WIDTH))
