"""What is evaluated: a pipeline, or the oracle that shows what a perfect one would score."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np

from codi.evaluation.faces import FACES, medium_of
from codi.request import along_with
from codi.types import InputError
from codi.worlds.sounding_shapes.factors import FACTORS
from codi.worlds.sounding_shapes.scene import Scene, sample_scene

Batch = Mapping[str, Sequence[Any]]
"""Media per modality, one for each sample."""


class Engine(Protocol):
    """Makes a batch of samples.

    Attributes:
        identity: changes where weights or settings do, so that samples of the one do not pass for the other's; "" where
            nobody knows.
        settings: what samples are of, in words, for whoever reads their figures.
    """

    @property
    def identity(self) -> str:
        """See the class."""
        ...

    @property
    def settings(self) -> str:
        """See the class."""
        ...

    def __call__(
        self, inputs: Batch, outputs: Sequence[str], seed: int, given: Batch | None = None, **options: Any
    ) -> dict[str, list[Any]]:
        """One medium per output modality and sample; sample n has the noise of seed + n."""
        ...

    def makes(self, outputs: Sequence[str], given: Collection[str], options: Mapping[str, Any]) -> tuple[str, ...]:
        """The outputs, and what is made along with them, in one order."""
        ...

    def embed(self, modality: str, media: Sequence[Any]) -> np.ndarray:
        """Media in the shared space: [n, d], alike where their product is large."""
        ...


@dataclass(frozen=True)
class PipelineEngine:
    """A CoDiPipeline, with options for all its calls."""

    pipeline: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    identity: str = ""

    @property
    def settings(self) -> str:
        """The bundle, and options of all calls; steps even where nobody named them."""
        defaults = self.pipeline.defaults
        beside = [f" ({name} {', else '.join(map(str, rules))})" for name, rules in defaults.beside.items()]
        followed = [(name, *one) for name, scales in defaults.following.items() for one in scales.items()]
        following = [f" ({name} to a given {given} {scale.prompt:g})" for name, given, scale in followed]
        guided = "".join([f"{defaults.guidance.prompt:g}", *beside, *following])
        if defaults.interval != defaults.guidance.interval and "guidance_interval" not in self.options:
            guided += f" (with others in every {defaults.interval} steps)"
        coupled = [f" ({name} {scale:g} with others that are made)" for name, scale in defaults.bridge.items()]
        bridged = "".join([f"{defaults.guidance.bridge:g}", *coupled])
        own = {"guidance_scale": guided, "bridge_scale": bridged}
        told = {"num_inference_steps": defaults.steps, **own, **self.options}
        if not {"bridge_start", "bridge_end"} & self.options.keys():
            spans = [f" ({name} from {a:g} to {b:g} of the steps)" for name, (a, b) in defaults.spans.items()]
            spans += [
                f" ({name} {', else '.join(f'to {end}' for end in ends)})" for name, ends in defaults.ends.items()
            ]
            told["bridge_scale"] = "".join([str(told["bridge_scale"]), *spans])
        if defaults.companions and "companions" not in self.options:
            along = dict.fromkeys(defaults.companions.values())
            whose = {other: [name for name, its in defaults.companions.items() if its == other] for other in along}
            told["companions"] = " ".join(f"{other} (of {' '.join(of)} with others)" for other, of in whose.items())
        if "bridge_renewal" not in self.options:
            renewed = [f"{name} with others above {level:g}" for name, level in defaults.renewal.items()]
            only = "with nothing but a given"
            renewed += [f"{n} {only} {g} above {one.renewal:g}" for n, g, one in followed if one.renewal is not None]
            told |= {"bridge_renewal": ", ".join(renewed)} if renewed else {}
        if "bridge_prompting" not in self.options:
            told |= {f"bridge_prompting {name}": f"below {level:g}" for name, level in defaults.prompting.items()}
        return ", ".join([f"bundle {self.identity[:12]}", *(f"{name} {value}" for name, value in told.items())])

    def __call__(
        self, inputs: Batch, outputs: Sequence[str], seed: int, given: Batch | None = None, **options: Any
    ) -> dict[str, list[Any]]:
        """See Engine."""
        settings = {**self.options, **options}
        result = self.pipeline(
            inputs=_rows(inputs), given=_rows(given or {}), outputs=list(outputs), seed=seed, **settings
        )
        made = {m: getattr(result, m) for m in outputs}
        return {m: media if isinstance(media, list) else [media] for m, media in made.items()}

    def makes(self, outputs: Sequence[str], given: Collection[str], options: Mapping[str, Any]) -> tuple[str, ...]:
        """See Engine."""
        settings = {**self.options, **options}
        along = settings.get("companions")
        if along is None:
            along = along_with(outputs, given, settings, self.pipeline.defaults, self.pipeline.makeable())
        return tuple(sorted({*outputs, *along}))

    def embed(self, modality: str, media: Sequence[Any]) -> np.ndarray:
        """Prompt tokens, each of unit length, side by side: a product is the mean cosine over tokens."""
        import torch

        with torch.no_grad():
            tokens = self.pipeline.engine(modality).prompt(media)
        return np.asarray(torch.nn.functional.normalize(tokens.float(), dim=-1).flatten(1).cpu().numpy())


def _rows(batch: Batch) -> list[dict[str, Any]]:
    """Media by modality -> a batch of prompts as the pipeline takes it."""
    return [dict(zip(batch, media, strict=True)) for media in zip(*batch.values(), strict=True)] or [{}]


@dataclass(frozen=True)
class Oracle:
    """Reads its inputs and renders one scene that obeys them: the ceiling of every figure, through the same path.

    With bridges off each output is rendered from a scene of its own.
    """

    identity: str = "oracle"
    settings: str = "the oracle"

    def __call__(
        self, inputs: Batch, outputs: Sequence[str], seed: int, given: Batch | None = None, **options: Any
    ) -> dict[str, list[Any]]:
        """See Engine."""
        read = [FACES[m].read([medium_of(x) for x in media]) for m, media in {**inputs, **(given or {})}.items()]
        apart = options.get("bridge_scale") == 0
        made: dict[str, list[Any]] = {m: [] for m in outputs}
        for n, readings in enumerate(zip(*read, strict=True)):
            fixed = {name: value for r in readings for name, value in r.factors.items()}
            fixed = fixed if fixed.get("motion") != "still" else {k: v for k, v in fixed.items() if k != "tempo"}
            for place, modality in enumerate(outputs):
                rng = np.random.default_rng((seed + n, place if apart else 0))
                made[modality].append(FACES[modality].show(_obedient(rng, fixed), rng))
        return made

    def makes(self, outputs: Sequence[str], given: Collection[str], options: Mapping[str, Any]) -> tuple[str, ...]:
        """See Engine: in the order that they are asked for in, for each has noise of its own by that."""
        return tuple(outputs)

    def embed(self, modality: str, media: Sequence[Any]) -> np.ndarray:
        """One-hot factors as the reader finds them: what can be retrieved at best."""
        found = [reading.factors for reading in FACES[modality].read(media)]
        hot = [[float(f.get(name) == value) for name, values in FACTORS.items() for value in values] for f in found]
        return np.array(hot)


def _obedient(rng: np.random.Generator, fixed: dict[str, str]) -> Scene:
    return sample_scene(rng, "all", **fixed)


def load_engine(model: str, options: Mapping[str, Any]) -> Engine:
    """The oracle, or the pipeline of a bundle's name or folder.

    Raises:
        InputError: no such model.
    """
    if model == "oracle":
        return Oracle()
    from codi.bundles import bundle_hash, find_bundle
    from codi.pipeline import CoDiPipeline  # loads torch and diffusers

    try:
        pipeline = CoDiPipeline.from_pretrained(model)
    except OSError as error:
        raise InputError("model", str(error), "give a bundle's folder, or 'oracle'") from error
    pipeline.set_progress_bar_config(disable=True)
    weights = bundle_hash(find_bundle(model))
    defaults = [getattr(pipeline.defaults, field.name) for field in fields(pipeline.defaults)]
    return PipelineEngine(pipeline, options, " ".join([weights, *map(str, [*options.items(), *defaults])]))
