"""Guidance as a list of terms: which prompt, which bridge, how much of it.

    eps(null) + w_prompt [eps(c) - eps(null)] + w_bridge [eps(c, env) - eps(c)]

The first difference is classifier-free guidance (Ho and Salimans 2022, equation 6), the second the same for what
crosses the bridge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from codi.types import Tokens


@dataclass(frozen=True)
class Term:
    """One pass of a denoiser and its coefficient.

    Attributes:
        prompted: with the prompt; without it, with the null or the negative prompt.
        bridged: with the partners' environment tokens.
        weight: coefficient of the pass in the guided prediction.
    """

    prompted: bool
    bridged: bool
    weight: float


@dataclass(frozen=True)
class Guidance:
    """The two scales, and the terms that they give; a backbone may bring its own.

    Attributes:
        prompt: w_prompt; 1 follows the prompt without guidance, 0 ignores it.
        bridge: w_bridge; 0 switches the bridges off.
        start, end: shares of the steps at which the bridges begin and cease to act on the output, as a ControlNet's in
            diffusers; before `start` the others do not read it either.
        prompt_end: share of the steps after which the prompt is followed without guidance, which takes a pass fewer
            (guidance in a limited interval, Kynkaanniemi et al. 2024).
        interval: steps from one pass without the prompt to the next. Between them the prompted pass less that one is
            taken to be what it last was, for neighbouring steps differ little (cf. FasterCache, Lv et al. 2024).
        renewal: the noise level above which an output that reads partners, no part of it given, gets new noise
            at every step; 1 for never. What it begins from would else decide for it before the partners can
            (stochasticity corrects what earlier steps did, Karras et al. 2022, section 4).
        prompting: the noise level below which what an output is about to become prompts those that read it; 0 for
            never. A prompt names what bridges, made for what happens when, tell less surely.
    """

    prompt: float = 3.0
    bridge: float = 2.0
    start: float = 0.0
    end: float = 1.0
    prompt_end: float = 1.0
    interval: int = 1
    renewal: float = 1.0
    prompting: float = 0.0

    def at(self, share: float) -> Self:
        """The scales after that share of the steps."""
        return self if share < self.prompt_end else replace(self, prompt=min(self.prompt, 1.0))

    @property
    def joins(self) -> bool:
        """Whether the bridge is ever read."""
        return self.bridge > 0 and self.start < self.end

    def acts(self, share: float) -> bool:
        """Whether the bridge is read after that share of the steps."""
        return self.bridge > 0 and self.start <= share < self.end

    def terms(self, partners: bool) -> tuple[Term, ...]:
        """The passes whose weighted sum is the prediction; passes of weight zero are not taken.

        Args:
            partners: whether the output has any partner to read.
        """
        bridge = self.bridge if partners else 0.0
        terms = (
            Term(prompted=False, bridged=False, weight=1 - self.prompt),
            Term(prompted=True, bridged=False, weight=self.prompt - bridge),
            Term(prompted=True, bridged=True, weight=bridge),
        )
        return tuple(term for term in terms if term.weight)

    def reads(self, name: str, other: str) -> bool:
        """Whether the readers of output `name` see what `other` shows: what any other does."""
        return other != name

    def seen(self, name: str, shown: Mapping[str, Tokens | None]) -> dict[str, Tokens]:
        """Of all environment tokens by modality, those that the readers of output `name` see."""
        return {other: tokens for other, tokens in shown.items() if tokens is not None and self.reads(name, other)}
