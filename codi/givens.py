"""What stands on the timeline: givens, whole, at an instant or in part, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codi import files
from codi.modality import registry
from codi.types import At, ClipSpec, InputError, Part


@dataclass(frozen=True)
class Stands:
    """A given.

    Attributes:
        media: the medium.
        seconds: the instant that it stands at; None for its modality's own timeline.
        part: what of it stands, where the rest is an output; None where all of it does.
    """

    media: Any
    seconds: float | None = None
    part: Part | None = None


def stood(media: Any) -> Stands:
    """A given as it was named.

    Raises:
        InputError: it stands at no instant.
    """
    if isinstance(media, Part):
        return Stands(media.media, part=media)
    return Stands(media.media, number("at", media.seconds)) if isinstance(media, At) else Stands(media)


def usable(stands: Stands, name: str) -> Stands:
    """A given whose medium is in the form that its modality takes.

    Raises:
        InputError: one that is of another form.
    """
    media = files.formats()[name].check(stands.media, f"given {name}")
    part = None if stands.part is None else dataclasses.replace(stands.part, media=media)
    return stands if media is stands.media else dataclasses.replace(stands, media=media, part=part)


def check_places(given: Sequence[Mapping[str, Stands]], clip: ClipSpec) -> None:
    """Givens stand within the clip, and within themselves.

    Raises:
        InputError: an instant or a span outside, or of a modality that has none.
    """
    for name, stands in (item for sample in given for item in sample.items()):
        if stands.seconds is not None and not registry()[name].instant:
            raise InputError(f"given {name}", "cannot stand at an instant", "give it as it is, or spans of it (Part)")
        if stands.seconds is not None and not 0 <= stands.seconds < clip.duration:
            problem = f"stands at {stands.seconds:g} s, outside a clip of {clip.duration:g} s"
            raise InputError(f"given {name}", problem, "give an instant within the clip, or raise the duration")
        if stands.part is not None:
            _check_spans(f"given {name}", stands.part, clip)


def _check_spans(name: str, part: Part, clip: ClipSpec) -> None:
    """Spans lie within the clip, and within the medium but for a frame."""
    lasts = getattr(part.media, "seconds", math.inf)
    for span in part.spans:
        _, stop = _pair(name, span)
        if stop > clip.duration:
            problem = f"stands until {stop:g} s of a clip of {clip.duration:g} s"
            raise InputError(name, problem, "let it end within the clip, or raise the duration")
        if stop > lasts + 1 / clip.fps:
            problem = f"stands until {stop:g} s and lasts {lasts:g} s"
            raise InputError(name, problem, "let the span end where the medium does")


def _pair(name: str, span: Any) -> tuple[float, float]:
    """A span's beginning and end.

    Raises:
        InputError: not two numbers, the second the larger.
    """
    if isinstance(span, Sequence) and len(span) == 2:
        start, stop = (number(f"{name}: span", moment) for moment in span)
        if start < stop:
            return start, stop
    raise InputError(name, f"has a span of {span}", "give pairs of seconds, as in spans=((0, 1),)")


def check_parts(given: Sequence[Mapping[str, Stands]]) -> None:
    """Of a modality, the samples of a batch stand alike: whole or in part, with one strength, at one instant.

    Raises:
        InputError: they do not, or have a strength that is none.
    """
    for name in given[0]:
        if len({stands[name].seconds for stands in given}) > 1:
            raise InputError(f"given {name}", "stands at several instants in one batch", "make one call for each")
        parts = [stands[name].part for stands in given]
        for part in parts:
            _check_strength(f"given {name}", part)
        strengths = {None if part is None else part.strength for part in parts}
        if len({part is None for part in parts}) > 1 or len(strengths) > 1:
            raise InputError(f"given {name}", "stands in part in some samples of a batch", "make one call for each")


def _check_strength(name: str, part: Part | None) -> None:
    if part is None or part.strength is None:
        return
    if not 0 < number(f"{name}: strength", part.strength) <= 1:
        raise InputError(name, f"has a strength of {part.strength:g}", "give one above 0, at most 1")
    if part.spans or part.mask is not None:
        raise InputError(name, "has a strength, and spans or a mask", "give one of the two")


def number(name: str, value: float) -> float:
    """A finite number of at least 0.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, numbers.Real) or not math.isfinite(value) or value < 0:
        raise InputError(f"{name} {value}", "is not a number of at least 0", "give one")
    return float(value)
