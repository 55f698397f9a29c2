"""`CoDiV1Pipeline`: the official weights behind the same call."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from codi.backbones.codi_v1.modalities import modalities
from codi.backbones.codi_v1.modes import OFFICIAL
from codi.backbones.codi_v1.release import BRINGS, TOKENIZERS
from codi.defaults import Defaults
from codi.guidance import Guidance, Term
from codi.modality import Modality
from codi.pipeline import CoDiPipeline, component_names, component_signature
from codi.request import Call, Prompts, names_of
from codi.staging import Conditioning
from codi.types import ClipSpec, InputError, Tokens


@dataclass(frozen=True)
class JointGuidance(Guidance):
    """The release's guidance: the unprompted and the prompted pass, both with what is read on (Tang et al. 2023).

        (1 - w) eps(null, read) + w eps(c, read)

    A bridge scale between 0 and 1 mixes that with the same without reading; 0 and 1 take two passes.

    Attributes:
        itself: readers see their own output's environment token and not the others', as released.
    """

    prompt: float = 7.5
    bridge: float = 1.0
    itself: bool = True

    def terms(self, partners: bool) -> tuple[Term, ...]:
        """The passes; those of weight zero are not taken."""
        read = self.bridge if partners else 0.0
        terms = (
            Term(prompted=False, bridged=True, weight=read * (1 - self.prompt)),
            Term(prompted=True, bridged=True, weight=read * self.prompt),
            Term(prompted=False, bridged=False, weight=(1 - read) * (1 - self.prompt)),
            Term(prompted=True, bridged=False, weight=(1 - read) * self.prompt),
        )
        return tuple(term for term in terms if term.weight)

    def reads(self, name: str, other: str) -> bool:
        """Its own token, or the others'."""
        return (other == name) == self.itself


class CoDiV1Pipeline(CoDiPipeline):
    """A codi-v1 bundle. Its mode stands in the configuration of its parts (see `codi.backbones.codi_v1.modes`)."""

    _optional_components = list(component_names(modalities()))  # noqa: RUF012 (diffusers reads it off the class)
    givens_prompt: ClassVar[bool] = False
    defaults = Defaults(steps=50, guidance=JointGuidance())
    """Those of CoDi's release."""

    def __init__(self, /, **components: Any) -> None:
        super().__init__(**components)
        guidance = JointGuidance(itself=self.mode == OFFICIAL)
        self.defaults = dataclasses.replace(self.defaults, guidance=guidance)

    __init__.__signature__ = component_signature(modalities())  # type: ignore[attr-defined]

    @classmethod
    def modalities(cls) -> Mapping[str, Modality]:
        """Those of the bundle."""
        return modalities()

    @classmethod
    def check_parts(cls, folder: Path, needed: Collection[str]) -> None:
        """Refuse a request for parts that were not converted.

        Raises:
            InputError: names the file that brings the first of them.
        """
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
        for name in sorted(needed):
            if not (index.get(name) or [None])[0]:
                file = next((file for file, names in BRINGS.items() if name in names), None)
                remedy = (
                    f"convert {file} too" if file else f"convert with the vocabulary of {TOKENIZERS.get(name, name)}"
                )
                raise InputError(str(folder), f"has no {name}", remedy)

    @classmethod
    def prompters(cls, inputs: Sequence[str]) -> tuple[str, ...]:
        """The modalities whose encoders a request needs: without an input, the empty text says so."""
        return tuple(inputs) or ("text",)

    @property
    def mode(self) -> str:
        """`official` or `partner`."""
        configs = (getattr(component, "config", None) for component in self.components.values())
        named = (config["mode"] for config in configs if isinstance(config, Mapping) and "mode" in config)
        return next(named, OFFICIAL)

    def clip(self, outputs: Sequence[str], duration: float | None, fps: float | None, size: int | None) -> ClipSpec:
        """Clips of 8 frames at 4 a second and 256 pixels; sounds alone last 10.24 s, beside a clip as long as it."""
        lengths = [self.engine(name).seconds for name in names_of(outputs) if name in modalities()]  # type: ignore[attr-defined]
        natural = min((length for length in lengths if length is not None), default=2.0)
        asked = {"duration": duration, "fps": fps, "size": size}
        defaults = {"duration": natural, "fps": 4.0, "size": 256}
        chosen: dict[str, Any] = {key: defaults[key] if value is None else value for key, value in asked.items()}
        return ClipSpec.of(**chosen)

    def _prompts(self, call: Call, like: torch.Tensor) -> Conditioning:
        """One token each."""
        self._check(call)
        told = call.inputs if call.inputs[0] else call.negative
        nothing = self._mixed(tuple(self._nothing(sample) for sample in told), call.weights, like)
        prompt = self._mixed(call.inputs, call.weights, like) if call.inputs[0] else nothing
        negative = self._mixed(call.negative, call.weights, like) if call.negative[0] else nothing
        return Conditioning(prompt, negative, nothing)

    def _nothing(self, sample: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """What says nothing, in the modalities of the inputs: the empty text, mid grey, silence."""
        counts = {name: len(media) for name, media in sample.items()} or {"text": 1}
        return {name: [self.engine(name).nothing] * count for name, count in counts.items()}  # type: ignore[attr-defined]

    def _mixed(self, prompts: Prompts, weights: Mapping[str, float], like: torch.Tensor) -> Tokens:
        """The weighted mean of all inputs' tokens, not normalised again; all weights 0 is the null prompt."""
        scales = {name: weights.get(name, 1.0) for name in prompts[0]}
        total = sum(scale * len(prompts[0][name]) for name, scale in scales.items())
        if total == 0:
            return self._mixed(tuple(self._nothing(sample) for sample in prompts), {}, like)
        mean = sum(
            scale / total * self.engine(name).prompt([sample[name][place] for sample in prompts])
            for name, scale in scales.items()
            for place in range(len(prompts[0][name]))
            if scale
        )
        assert isinstance(mean, torch.Tensor)
        return Tokens(mean.to(like.device, like.dtype))

    def _check(self, call: Call) -> None:
        partners = [name for name in call.given[0] if name not in call.outputs]
        if self.mode == OFFICIAL and call.companions:
            raise InputError(
                f"companions {call.companions[0]}",
                "would change nothing: in official mode readers see their own output alone",
                "leave it out",
            )
        if partners and self.mode == OFFICIAL:
            raise InputError(
                partners[0],
                "cannot be given: in official mode readers see their own output alone",
                "name it in inputs, or use a bundle in partner mode whose bridges were retrained",
            )
