"""What a call of the pipeline asks for, checked and with its defaults filled in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codi.guidance import Guidance
from codi.modality import registry
from codi.types import At, ClipSpec, InputError

DEFAULT_STEPS = 20
DEFAULT_GUIDANCE = Guidance()


@dataclass(frozen=True)
class Stands:
    """A given.

    Attributes:
        media: the medium.
        seconds: the instant that it stands at; None for its modality's own timeline.
    """

    media: Any
    seconds: float | None = None


@dataclass(frozen=True)
class Call:
    """A checked call.

    Attributes:
        inputs: media that prompt, by modality.
        outputs: modalities to make.
        given: what stands on the timeline.
        negative: media in the place of the null prompt.
        weights: of the inputs.
        guidance: of each output.
        clip: what is made.
        steps, seed, samples, scheduler: as in `CoDiPipeline.__call__`.
    """

    inputs: Mapping[str, list[Any]]
    outputs: tuple[str, ...]
    given: Mapping[str, Stands]
    negative: Mapping[str, list[Any]]
    weights: Mapping[str, float]
    guidance: Mapping[str, Guidance]
    clip: ClipSpec
    steps: int
    seed: int
    samples: int
    scheduler: str | None

    @property
    def parameters(self) -> dict[str, Any]:
        """The resolved numbers, for the recipe."""
        return {
            "seed": self.seed,
            "num_inference_steps": self.steps,
            "guidance_scale": {name: scale.prompt for name, scale in self.guidance.items()},
            "bridge_scale": {name: scale.bridge for name, scale in self.guidance.items()},
            "weights": dict(self.weights),
            "num_outputs_per_prompt": self.samples,
            "duration": self.clip.duration,
            "fps": self.clip.fps,
            "size": self.clip.size,
            "scheduler": self.scheduler,
        }


def resolve(
    *,
    inputs: Mapping[str, Any] | str | None,
    outputs: Sequence[str] | str,
    given: Mapping[str, Any] | None,
    seed: int | None,
    steps: int | None,
    guidance_scale: float | Mapping[str, float] | None,
    bridge_scale: float | Mapping[str, float] | None,
    negative: str | Mapping[str, Any] | None,
    weights: Mapping[str, float] | None,
    samples: int,
    clip: ClipSpec,
    scheduler: str | None,
) -> Call:
    """Check a call and fill in its defaults.

    Raises:
        InputError: names what is wrong.
    """
    wanted = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    stands = {name: _stands(media) for name, media in (given or {}).items()}
    prompts = _media(inputs)
    _check_names(wanted, stands, prompts)
    return Call(
        inputs=prompts,
        outputs=wanted,
        given=stands,
        negative=_media(negative),
        weights=_weights(weights or {}, prompts),
        guidance=_guidance(wanted, guidance_scale, bridge_scale),
        clip=clip,
        steps=_whole("num_inference_steps", DEFAULT_STEPS if steps is None else steps, 1),
        seed=_whole("seed", 0 if seed is None else seed, 0),
        samples=_whole("num_outputs_per_prompt", samples, 1),
        scheduler=scheduler,
    )


def _media(media: Mapping[str, Any] | str | None) -> dict[str, list[Any]]:
    named = {"text": media} if isinstance(media, str) else dict(media or {})
    lists = {name: list(value) if isinstance(value, list | tuple) else [value] for name, value in named.items()}
    return {name: value for name, value in lists.items() if value}


def _stands(media: Any) -> Stands:
    return Stands(media.media, _number("at", media.seconds)) if isinstance(media, At) else Stands(media)


def _check_names(outputs: Sequence[str], given: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    known = ", ".join(registry())
    for name in (*outputs, *given, *inputs):
        if name not in registry():
            raise InputError(str(name), "is not a modality", f"choose among {known}")
    if not outputs:
        raise InputError("outputs", "names nothing to make", f"choose among {known}")
    for name in outputs:
        if list(outputs).count(name) > 1:
            raise InputError(name, "is asked for twice", "name each output once; more samples are num_outputs_per_prompt")
        if name in given:
            raise InputError(name, "is both given and an output", "name it in one of the two")


def _weights(weights: Mapping[str, float], inputs: Mapping[str, Any]) -> dict[str, float]:
    for name in weights:
        if name not in inputs:
            raise InputError(f"weights {name}", "weighs no input", "name an input")
    return {name: _number(f"weights {name}", weight) for name, weight in weights.items()}


def _guidance(
    outputs: Sequence[str], prompt: float | Mapping[str, float] | None, bridge: float | Mapping[str, float] | None
) -> dict[str, Guidance]:
    def scale(name: str, value: float | Mapping[str, float] | None, output: str, default: float) -> float:
        chosen = value.get(output) if isinstance(value, Mapping) else value
        return default if chosen is None else _number(name, chosen)

    return {
        output: Guidance(
            scale("guidance_scale", prompt, output, DEFAULT_GUIDANCE.prompt),
            scale("bridge_scale", bridge, output, DEFAULT_GUIDANCE.bridge),
        )
        for output in outputs
    }


def _number(name: str, value: float) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InputError(f"{name} {value}", "is not a number of at least 0", "give one")
    return float(value)


def _whole(name: str, value: int, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} {value}", f"is not a whole number of at least {least}", "give one")
    return value
