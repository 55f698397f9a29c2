"""The values that travel between the parts of the engine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    Value = torch.Tensor | Callable[[], torch.Tensor]


class InputError(ValueError):
    """What a user gave cannot be used: one line that names it, what is wrong and what would be right.

    The command line prints it and exits with status 2.
    """

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(f"{name}: {problem}; {remedy}")
        self.name, self.problem, self.remedy = name, problem, remedy


class CodiWarning(UserWarning):
    """Something can be done and is likely to disappoint: one line. The command line prints it and goes on."""


@dataclass(frozen=True)
class At:
    """A medium that stands at an instant of the clip: an image that is the frame at `seconds`."""

    media: Any
    seconds: float


@dataclass(frozen=True)
class Part:
    """A medium of which a part stands; the rest of it is an output: a clip continued, a gap filled, a picture varied.

    Attributes:
        media: the medium.
        spans: (start, stop) in seconds of what stands, of a medium with a time.
        mask: bool [height, width], True where a picture stands.
        strength: of what is made anew from the whole medium, above 0 and at most 1, in the place of spans and mask: it
            stands until that share of the steps is left (SDEdit, Meng et al. 2022; diffusers' `strength`).
    """

    media: Any
    spans: tuple[tuple[float, float], ...] = ()
    mask: Any = None
    strength: float | None = None

    def stands(self, starts: Any, stops: Any) -> Any:
        """Bool array: whether each of the intervals from `starts` to `stops` (arrays, seconds) stands whole."""
        inside = [(starts >= start - 1e-9) & (stops <= stop + 1e-9) for start, stop in self.spans]
        return sum(inside, 0 * starts) > 0


@dataclass(frozen=True)
class ClipSpec:
    """What is to be made.

    Attributes:
        duration: length of the clip in seconds, > 0.
        fps: video frames per second, > 0.
        size: side of images and video frames in pixels.
    """

    duration: float = 2.0
    fps: float = 8.0
    size: int = 64

    @classmethod
    def of(cls, duration: float | None = None, fps: float | None = None, size: int | None = None) -> ClipSpec:
        """A clip with defaults for what is None.

        Raises:
            InputError: a number that is not finite and above 0.
        """
        values = {"duration": duration, "fps": fps, "size": size}
        for name, value in values.items():
            if value is not None and not (isinstance(value, Real) and math.isfinite(value) and value > 0):
                raise InputError(f"{name} {value}", "is not a number above 0", "give one")
        if size is not None and size != round(size):
            raise InputError(f"size {size}", "is not a whole number", "give pixels of a side")
        return cls(**{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]

    @property
    def frames(self) -> int:
        """Video frames in the clip; frame k stands at k / fps seconds."""
        return max(1, round(self.duration * self.fps))

    def frame_at(self, seconds: float) -> int:
        """The frame that stands at an instant of the clip."""
        return min(math.floor(seconds * self.fps + 1e-6), self.frames - 1)


@dataclass(frozen=True)
class Tokens:
    """A sequence that attention reads.

    Attributes:
        states: [batch, tokens, channels].
        times: [tokens] seconds in float64; NaN marks a global token, one without a time.
        bias: [batch, tokens] added to the attention logits (the logarithm of a weight); None is zero.
        parts: where the tokens are several partners', how many are whose; None where they are one's.
    """

    states: torch.Tensor
    times: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    parts: tuple[int, ...] | None = None

    def repeated(self, count: int) -> Tokens:
        """The same for a batch of so many times the samples, one time after another."""
        bias = None if self.bias is None else self.bias.repeat(count, 1)
        return replace(self, states=self.states.repeat(count, 1, 1), bias=bias)


class Denoised:
    """What one pass of a denoiser gives; each part may be a function, called once and only if somebody asks.

    Nobody asks for the sample of a given, nor for the features of a pass beside partners.

    Args:
        sample: the network's output, of the latent's shape (velocity, noise or x0: the scheduler knows).
        features: [batch, positions, channels] of the feature tap, time kept, space pooled; None where there is none.
    """

    def __init__(self, sample: Value, features: Value | Callable[[], torch.Tensor | None] | None = None) -> None:
        self._sample, self._features = sample, features

    @cached_property
    def sample(self) -> torch.Tensor:
        """See the class."""
        return self._sample() if callable(self._sample) else self._sample

    @cached_property
    def features(self) -> torch.Tensor | None:
        """See the class."""
        return self._features() if callable(self._features) else self._features

    def chunk(self, count: int) -> list[Denoised]:
        """The passes that were taken in one batch, so many of equal size; computed when one of them is."""

        def sample(place: int) -> torch.Tensor:
            return self.sample.chunk(count)[place]

        def features(place: int) -> torch.Tensor | None:
            return None if self.features is None else self.features.chunk(count)[place]

        return [Denoised(partial(sample, place), partial(features, place)) for place in range(count)]
