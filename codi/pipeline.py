"""`CoDiPipeline`: any set of inputs and givens to any set of outputs, as a diffusers pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline

from codi import conditioning, files
from codi.bundles import find_bundle, pipeline_name
from codi.defaults import CODI_MINI, Defaults
from codi.givens import Stands
from codi.manifest import check_bundle
from codi.modality import Engine, Modality, registry
from codi.request import Call, Media, Prompts, Scale, modalities_of, names_of, own, resolve, usable
from codi.sampling import denoise
from codi.staging import Conditioning, Stage
from codi.types import ClipSpec, InputError, Tokens


def component_names(modalities: Mapping[str, Modality]) -> tuple[str, ...]:
    """Every component that some modality may need, in their order."""
    return tuple(dict.fromkeys(name for modality in modalities.values() for name in modality.components))


def component_signature(modalities: Mapping[str, Modality]) -> inspect.Signature:
    """Diffusers reads a pipeline's components off its constructor: these follow the modalities."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    parameters += [inspect.Parameter(name, keyword) for name in component_names(modalities)]
    return inspect.Signature(parameters)


@dataclass
class CoDiOutput:
    """What a call made.

    `output.video` is the clip, or a list where several samples were asked for; so for every output.

    Attributes:
        media: by modality, one of each sample.
        recipe: what made it.
        several: whether lists are given out.
    """

    media: dict[str, list[Any]]
    recipe: dict[str, Any] = field(default_factory=dict)
    several: bool = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.media:
            raise AttributeError(name)
        return self.media[name] if self.several else self.media[name][0]

    def save(self, folder: str | Path) -> list[Path]:
        """Write every output under the folder, made where it is missing, and return the files.

        Raises:
            InputError: something cannot be written; then nothing is.
        """
        import json

        return files.save(self.media, Path(folder), json.dumps(self.recipe, default=str))


class CoDiPipeline(DiffusionPipeline):
    """A bundle: per modality a prompt encoder, an autoencoder, a denoiser, its bridge and its scheduler.

    Components that a request does not need may be None. This class runs codi-mini's networks; another backbone is a
    subclass with modalities and defaults of its own, which `from_pretrained` finds by the bundle's index.
    """

    _optional_components = list(component_names(registry()))  # noqa: RUF012 (diffusers reads it off the class)
    givens_prompt: ClassVar[bool] = True
    """Whether what is given prompts too, where its modality is no input: bridges alone carry little of what it is."""
    defaults: Defaults = CODI_MINI
    """Steps, scales and companions where a call names none."""
    _engines: dict[str, Engine]
    _left_out: frozenset[str] = frozenset()

    def __init__(self, /, **components: Any) -> None:
        super().__init__()
        self.register_modules(**{name: components.get(name) for name in component_names(self.modalities())})

    __init__.__signature__ = component_signature(registry())  # type: ignore[attr-defined]

    @classmethod
    def modalities(cls) -> Mapping[str, Modality]:
        """The modalities over this backbone's components."""
        return registry()

    @classmethod
    def prompters(cls, inputs: Sequence[str]) -> tuple[str, ...]:
        """The modalities whose prompt encoders a request needs."""
        return tuple(inputs)

    @classmethod
    def needed(
        cls,
        inputs: Iterable[str] | str,
        given: Iterable[str] | str,
        outputs: Iterable[str] | str,
        companions: Sequence[str] | str | None = None,
        bridge_prompting: Scale = None,
    ) -> set[str]:
        """Components that a request needs; arguments as of `from_pretrained`."""
        asks, stands, makes = modalities_of(inputs, "inputs"), modalities_of(given, "given"), modalities_of(outputs)
        makes += cls.defaults.along(makes, stands) if companions is None else modalities_of(companions, "companions")
        told = (*asks, *stands) if cls.givens_prompt else asks
        prompts = cls.prompters(tuple(dict.fromkeys(told)))
        table = cls.modalities()
        found = {part for name in prompts for part in table[name].prompts}
        found |= {part for name in stands for part in table[name].stands}
        found |= {part for name in makes for part in table[name].generates}
        joint = len({*stands, *makes}) > 1
        found |= {part for name in makes if joint for part in table[name].joins}
        tells = [name for name in makes if len(makes) > 1 and cls.defaults.tells(name, own(bridge_prompting, name))]
        return found | {part for name in tells for part in table[name].prompts}

    @classmethod
    def check_parts(cls, folder: Path, needed: Collection[str]) -> None:
        """Refuse a request for parts that a bundle does not have; codi-mini's may be missing, bridges for one."""

    def clip(self, outputs: Sequence[str], duration: float | None, fps: float | None, size: int | None) -> ClipSpec:
        """What is made, with defaults for what a call leaves out.

        Raises:
            InputError: a number that is not finite and above 0.
        """
        return ClipSpec.of(duration, fps, size)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        bundle: str | Path = "codi-mini",
        *,
        inputs: Iterable[str] | str | None = None,
        given: Iterable[str] | str | None = None,
        outputs: Iterable[str] | str | None = None,
        companions: Sequence[str] | str | None = None,
        bridge_prompting: Scale = None,
        **options: Any,
    ) -> CoDiPipeline:
        """Load a bundle.

        Args:
            bundle: a shipped bundle's name or a folder.
            inputs: modalities that will prompt, one or several; only what these three need is loaded, all where none is
                named.
            given: modalities that will stand.
            outputs: modalities that will be made.
            companions, bridge_prompting: as in `__call__`.
            options: as of `DiffusionPipeline.from_pretrained` (dtype, components to override, ...).

        Raises:
            InputError: no such bundle, one with a missing, truncated or altered file, or no such modality.
        """
        folder = find_bundle(str(bundle))
        kind = pipeline_class(folder)
        if kind is not cls and issubclass(kind, cls):
            options = {"inputs": inputs, "given": given, "outputs": outputs, "companions": companions, **options}
            return kind.from_pretrained(bundle, bridge_prompting=bridge_prompting, **options)
        check_bundle(folder)
        left_out: dict[str, None] = {}
        if not (inputs is None and given is None and outputs is None):
            asks, stands, makes = (() if named is None else named for named in (inputs, given, outputs))
            needed = cls.needed(asks, stands, makes, companions, bridge_prompting)
            cls.check_parts(folder, needed)
            left_out = {name: None for name in component_names(cls.modalities()) if name not in needed}
            options = left_out | options
        if "torch_dtype" not in options:
            options.setdefault("dtype", torch.float32)
        pipe: CoDiPipeline = super().from_pretrained(str(folder), **options)
        pipe._left_out = frozenset(left_out)
        for name, component in pipe.components.items():
            if isinstance(component, torch.nn.Module):
                _check_whole(folder / name, component)
                component.eval().requires_grad_(False)
        return pipe

    def engine(self, name: str) -> Engine:
        """The tensor side of a modality over this pipeline's components."""
        parts = self.components
        if name not in self._engines:
            self._engines[name] = self.modalities()[name].engine()(parts)
        return self._engines[name]

    def to(self, *arguments: Any, **options: Any) -> CoDiPipeline:
        """As `DiffusionPipeline.to`; engines are built anew on the moved components."""
        self._engines = {}
        moved: CoDiPipeline = super().to(*arguments, **options)
        return moved

    def __setattr__(self, name: str, value: Any) -> None:
        """As `DiffusionPipeline`'s; after a component has changed, engines are built anew."""
        if name in self._optional_components:
            self._engines = {}
        super().__setattr__(name, value)

    @torch.inference_mode(False)  # (what stands in part draws the rest by gradients)
    @torch.no_grad()
    def __call__(  # noqa: PLR0913  diffusers' vocabulary, keyword by keyword
        self,
        inputs: Media = None,
        outputs: Sequence[str] | str = (),
        given: Media = None,
        *,
        seed: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: Scale = None,
        bridge_scale: Scale = None,
        bridge_start: Scale = None,
        bridge_end: Scale = None,
        guidance_end: float = 1.0,
        guidance_interval: int | Mapping[str, int | None] | None = None,
        bridge_renewal: Scale = None,
        bridge_prompting: Scale = None,
        negative_prompt: Media = None,
        weights: Mapping[str, float] | None = None,
        num_outputs_per_prompt: int = 1,
        duration: float | None = None,
        fps: float | None = None,
        size: int | None = None,
        scheduler: str | None = None,
        companions: Sequence[str] | str | None = None,
        generator: torch.Generator | None = None,
        callback_on_step_end: Callable[[CoDiPipeline, int, Mapping[str, torch.Tensor]], None] | None = None,
    ) -> CoDiOutput:
        """Make `outputs` from `inputs` and `given`.

        Args:
            inputs: media by modality, or a text. A list in the place of a medium is several inputs that prompt the same
                outputs; a list of such prompts is a batch, each for outputs of its own.
            outputs: modalities to make, jointly.
            given: media that stand on the timeline: they steer through their bridges, are not changed, and prompt too
                unless their modality is among the inputs or has weight 0. `At(image, seconds)` places one at an
                instant, as that frame of a clip. `Part(clip, spans=((0, 1),))` or `Part(image, mask=mask)` of an
                output stands in part, and comes back unchanged at its own rate and size; the rest is made to go with
                it. `Part(clip, strength=0.8)` of an output is what its last 0.8 of the steps begin from; it comes back
                at the pipeline's rate and size.
            seed: of the noise; sample k of a call is what seed + k gives alone. 0 where neither it nor `generator`
                is named.
            num_inference_steps: of all outputs, at least 1.
            guidance_scale: w_prompt, of all outputs or by modality; 1 is no guidance. Where it names none, codi-mini
                has 3, but 1.5 for a clip, 1 for a sound (1.5 with a clip and no text) that bridges join to others, 1.75
                for a clip made alone to a given sound.
            bridge_scale: w_bridge; 0 generates the outputs independently.
            bridge_start, bridge_end: shares of the steps between which the bridges act, 0 to 1; fewer cost less. Before
                its start others do not read an output either. Of all outputs or by modality; where neither is named,
                codi-mini's texts have 0 and 0.5, clips 0.25 and 0.85, all else 0 and 1; but they end at 0.55 for sounds
                beside others and no clip, and, where a text beside them prompts, for clips without a sound and pictures
                with that text alone, at 0.75 for pictures with others too. Where one is named, the other is 0 or 1.
                Step k of n is at k / n: in a single step no bridge acts on a clip.
            guidance_end: share of the steps after which the prompt is followed without guidance, which costs less.
            bridge_renewal: noise level, 0 to 1, above which outputs that read others, no part of them given, get
                new noise at every step, so that what they begin from does not decide before the others can; 1 for
                never. Of all outputs or by modality; where it names none, 0.7 for audio, 0.8 for a clip made from a
                given sound and nothing else, never for others. Outputs of which a part stands get it above 0.7 in any
                case. Of Euler samplers of rectified flow alone; others ignore it.
            bridge_prompting: noise level, 0 to 1, below which an output prompts those that read it with what it is
                about to become, as a given would; 0 for never. Whatever the spans above. Of all outputs or by
                modality; where it names none, 0.55 for text, never for others. Of samplers of rectified flow alone;
                others ignore it.
            guidance_interval: steps from one pass without the prompt to the next, at least 1; more cost less. Of all
                outputs or by modality; where it names none, codi-mini has 2 where bridges join outputs, else 1.
            negative_prompt: a text, or media by modality, in the place of the null prompt.
            weights: of inputs and givens that prompt by modality, at least 0, 1 where not named.
            num_outputs_per_prompt: samples, at least 1.
            duration: seconds.
            fps: frames a second.
            size: pixels of a side, a multiple of 16, of clips of 32.
            scheduler: name of a diffusers scheduler class to sample with instead of the bundle's.
            companions: modalities that are made along and not returned, so that the outputs meet better; () for none.
                Where it is not named, codi-mini has a text beside a picture that bridges join to other outputs.
            generator: contributes its initial seed.
            callback_on_step_end: called with the pipeline, the step's index and the outputs' latents.

        Returns:
            The outputs, with the recipe that made them.

        Raises:
            InputError: something that cannot be used, named.
        """
        call = resolve(
            inputs=inputs,
            outputs=outputs,
            given=given,
            seed=seed if seed is not None or generator is None else generator.initial_seed(),
            steps=num_inference_steps,
            guidance_scale=guidance_scale,
            bridge_scale=bridge_scale,
            bridge_start=bridge_start,
            bridge_end=bridge_end,
            guidance_end=guidance_end,
            guidance_interval=guidance_interval,
            bridge_renewal=bridge_renewal,
            bridge_prompting=bridge_prompting,
            negative=negative_prompt,
            weights=weights,
            samples=num_outputs_per_prompt,
            clip=self.clip((*names_of(outputs), *names_of(companions or ())), duration, fps, size),
            scheduler=scheduler,
            companions=companions,
            makeable=self.makeable(),
            defaults=self.defaults,
        )
        stage = self._stage(usable(call))
        tracks = stage.tracks()
        # A scheduler may take more steps than were asked for.
        steps = next(len(track.scheduler.timesteps) for track in tracks.values() if track.scheduler is not None)
        with self.progress_bar(total=steps) as bar:

            def on_step(index: int, latents: Mapping[str, torch.Tensor]) -> None:
                bar.update()
                if callback_on_step_end is not None:
                    callback_on_step_end(self, index, {name: latents[name] for name in call.outputs})

            latents = denoise(tracks, call.guidance, steps, on_step)
        media = {name: stage.media(name, latents[name]) for name in call.outputs}
        return CoDiOutput(media, {"parameters": call.parameters}, several=call.samples > 1)

    def makeable(self) -> set[str]:
        """The modalities that can be companions: all parts are loaded that make, join and tell them to others."""
        loaded, table = {name for name, part in self.components.items() if part is not None}, self.modalities()
        telling = {name: one.prompts if self.defaults.tells(name) else () for name, one in table.items()}
        return {n for n, one in table.items() if loaded.issuperset((*one.generates, *one.joins, *telling[n]))}

    def _stage(self, call: Call) -> Stage:
        self._check_loaded(call)
        like = next(p for c in self.components.values() if isinstance(c, torch.nn.Module) for p in c.parameters())
        engines = {name: self.engine(name) for name in (*call.guidance, *call.given[0])}
        schedulers = {name: self.components[f"{name}_scheduler"] for name in call.guidance}
        stage = Stage(call, engines, schedulers, self._prompts(call, like))
        for name in stage.tellers:
            self._check_prompts(name)
        return stage

    def _check_loaded(self, call: Call) -> None:
        prompts, makes = (*call.inputs[0], *call.negative[0]), tuple(call.guidance)
        lacking = self._left_out & self.needed(prompts, call.given[0], makes, (), bridge_prompting=0.0)
        for name in sorted(lacking):
            if self.components[name] is None:
                raise InputError(
                    name, "was left out when the bundle was loaded", "name all that a call uses, or nothing"
                )

    def _check_prompts(self, name: str) -> None:
        missing = [part for part in self.modalities()[name].prompts if self.components[part] is None]
        if missing:
            raise InputError(f"bridge_prompting {name}", f"needs {missing[0]}", f"load {name} as an input, or give 0")

    def _prompts(self, call: Call, like: torch.Tensor) -> Conditioning:
        """What passes attend to."""
        nothing = conditioning.null(call.samples, like)
        prompt = self._prompt(self._shown(call), call.weights) or nothing
        negative = self._prompt(call.negative, {}) or nothing
        return Conditioning(prompt, negative, nothing)

    def _shown(self, call: Call) -> Prompts:
        """The inputs, and what stands of modalities that are none of them: a clip goes on as it began."""
        if not self.givens_prompt:
            return call.inputs
        pairs = zip(call.inputs, call.given, strict=True)
        return tuple({**self._given_shown(stands, call.weights), **inputs} for inputs, stands in pairs)

    def _given_shown(self, given: Mapping[str, Stands], weights: Mapping[str, float]) -> dict[str, list[Any]]:
        shown = {
            name: stands.media if stands.part is None else self.engine(name).shown(stands.part)
            for name, stands in given.items()
            # What is made anew is to become what the prompt says, not what it was.
            if weights.get(name, 1.0) > 0 and (stands.part is None or stands.part.strength is None)
        }
        return {name: [medium] for name, medium in shown.items() if medium is not None}

    def _prompt(self, prompts: Prompts, weights: Mapping[str, float]) -> Tokens | None:
        engines = {name: self.engine(name) for name in prompts[0]}
        return conditioning.mixed(prompts, engines, weights) if engines else None


def _check_whole(folder: Path, component: torch.nn.Module) -> None:
    """Refuse a component whose file lacks weights: diffusers leaves them without values and says so in a warning."""
    missing = [name for name, parameter in component.named_parameters() if parameter.is_meta]
    if missing:
        raise InputError(
            str(folder), f"lacks {len(missing)} weights ({missing[0]})", "use the version of codi that it was made with"
        )


def pipeline_class(folder: Path) -> type[CoDiPipeline]:
    """The class that runs a bundle, by the name in its index.

    Raises:
        InputError: the index names none of codi's.
    """
    import codi

    kind = getattr(codi, pipeline_name(folder), None)
    if not (isinstance(kind, type) and issubclass(kind, CoDiPipeline)):
        raise InputError(str(folder), f"is a bundle of {pipeline_name(folder)}", "give one of codi's")
    return kind
