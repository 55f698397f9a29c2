"""Samples of an arm through codi's evaluation: the same scenes, readers, floors and controls as the engine's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from codi import schedule
from codi.ablations.arms import Arm, guidance_of
from codi.ablations.experts import ExpertEngine
from codi.conditioning import null
from codi.evaluation.cells import Cell, run_cell
from codi.evaluation.scores import score
from codi.pipeline import CoDiPipeline
from codi.sampling import Track, denoise
from codi.types import ClipSpec, Tokens

STEPS: Final = 12
OPEN: Final = "looks"
"""Prompts name shape, size and motion; colour, tempo and phase are left to the outputs."""


@dataclass(frozen=True)
class Prototype:
    """An arm as an engine that codi.evaluation samples.

    Attributes:
        arm: which.
        engines: of its modalities.
        pipeline: codi-mini, which prompts, encodes and decodes.
        options: for every call.
    """

    arm: Arm
    engines: Mapping[str, ExpertEngine]
    pipeline: CoDiPipeline
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        inputs: Mapping[str, Sequence[Any]],
        outputs: Sequence[str],
        seed: int,
        given: Mapping[str, Sequence[Any]] | None = None,
        **options: Any,
    ) -> dict[str, list[Any]]:
        """See `codi.evaluation.engines.Engine`."""
        chosen = {**self.options, **options}
        clip = ClipSpec.of(chosen.get("duration"), chosen.get("fps"))
        with torch.no_grad():
            prompt = Tokens(self.pipeline.engine("text").prompt(inputs["text"]))
        tracks = {name: self._output(name, prompt, seed, clip) for name in outputs}
        tracks |= {name: self._given(name, media, prompt, clip) for name, media in (given or {}).items()}
        guidance = guidance_of(self.arm, float(chosen.get("bridge_scale", 1.0)))
        with torch.autocast("cpu", torch.bfloat16):  # as they were trained; latents stay in single precision
            latents = denoise(tracks, dict.fromkeys(outputs, guidance), STEPS)
        return {name: self.engines[name].decode(latents[name], clip) for name in outputs}

    def embed(self, modality: str, media: Sequence[Any]) -> np.ndarray:
        """Prototypes have no prompt encoders of their own."""
        raise NotImplementedError

    def _output(self, name: str, prompt: Tokens, seed: int, clip: ClipSpec) -> Track:
        engine: Any = self.engines[name]  # as much of an Engine as the joint loop asks for
        noise = schedule.Noise(seed, name)
        scheduler = schedule.prepared(engine.process.scheduler(), STEPS, torch.device("cpu"))
        latent = noise.start(engine.latent_shape(clip), len(prompt.states))
        nothing = null(len(prompt.states), latent)
        return Track(engine, latent, engine.clock(clip), prompt, nothing, scheduler, noise)

    @torch.no_grad()
    def _given(self, name: str, media: Sequence[Any], prompt: Tokens, clip: ClipSpec) -> Track:
        engine: Any = self.engines[name]
        nothing = null(len(prompt.states), prompt.states)
        return Track(engine, engine.encode(media, clip), engine.clock(clip), nothing, nothing)


def measure(prototype: Prototype, name: str, count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Figures of `count` samples; samples that were made before are read."""
    options = dict(prototype.options)
    cell = Cell(name, ("text",), ("video", "audio"), naming=OPEN, repeats=4, options=options)
    cascade = options.pop("cascade", "")
    given = tuple(options.pop("given", ()))
    if cascade:
        rest = tuple(n for n in cell.outputs if n != cascade)
        cell = Cell(name, ("text",), (cascade, *rest), naming=OPEN, repeats=4, cascade=True, options=options)
    if given:
        rest = tuple(n for n in cell.outputs if n not in given)
        cell = Cell(name, ("text",), rest, naming=OPEN, repeats=4, given=given, options=options)
    return score(run_cell(prototype, cell, count, seed, folder))
