"""Prompts of any modalities -> the tokens that a denoiser attends to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import pad

from codi.modality import Engine
from codi.types import Tokens

SHARED_WIDTH = 256
SHARED_TOKENS = 8


def mixed(
    prompts: Sequence[Mapping[str, Sequence[Any]]], engines: Mapping[str, Engine], weights: Mapping[str, float]
) -> Tokens:
    """Tokens of all inputs, one after another, each with the logarithm of its weight as attention bias.

    Args:
        prompts: of each sample, media by modality; the same modalities and counts in all.
        engines: by modality.
        weights: by modality, 1 where it is not named; 0 takes the input out.

    Returns:
        states [batch, inputs * K, width] and bias [batch, inputs * K].
    """
    states, biases = [], []
    for name, media in prompts[0].items():
        weight = weights.get(name, 1.0)
        for place in range(len(media)):
            tokens = _each(engines[name], [sample[name][place] for sample in prompts])
            states.append(tokens)
            biases.append(tokens.new_full(tokens.shape[:2], math.log(weight) if weight > 0 else -torch.inf))
    bias = torch.cat(biases, dim=1)
    return Tokens(torch.cat(states, dim=1), None, bias) if bias.isfinite().any() else null(len(prompts), bias)


def beside(prompt: Tokens, others: Sequence[Tokens]) -> Tokens:
    """A prompt with others after it, which stand alone where it is the null prompt; itself where there are none."""
    if not others:
        return prompt
    parts = [prompt, *others] if prompt.states.any() else others
    return Tokens(torch.cat([part.states for part in parts], dim=1), None, torch.cat([_bias(p) for p in parts], dim=1))


def stacked(prompts: Sequence[Tokens]) -> Tokens:
    """Prompts of one batch each -> of one batch of them all, the shorter filled up with what nobody attends to."""
    longest = max(prompt.states.shape[1] for prompt in prompts)
    states = [pad(prompt.states, (0, 0, 0, longest - prompt.states.shape[1])) for prompt in prompts]
    if all(prompt.bias is None and prompt.states.shape[1] == longest for prompt in prompts):
        return Tokens(torch.cat(states))
    biases = [_bias(prompt) for prompt in prompts]
    return Tokens(
        torch.cat(states), None, torch.cat([pad(b, (0, longest - b.shape[1]), value=-torch.inf) for b in biases])
    )


def _bias(prompt: Tokens) -> torch.Tensor:
    return prompt.states.new_zeros(prompt.states.shape[:2]) if prompt.bias is None else prompt.bias


def _each(engine: Engine, media: list[Any]) -> torch.Tensor:
    """Tokens of a batch of media; one that stands in every sample is read once."""
    if all(medium is media[0] for medium in media):
        return engine.prompt(media[:1]).expand(len(media), -1, -1)
    return engine.prompt(media)


def null(samples: int, like: torch.Tensor) -> Tokens:
    """The null prompt: tokens of zeros, which the denoisers have met in training as "nothing was said"."""
    return Tokens(like.new_zeros(samples, SHARED_TOKENS, SHARED_WIDTH))
