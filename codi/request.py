"""What a call of the pipeline asks for, checked and with its defaults filled in."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from codi import files, givens
from codi.defaults import ALONE, CODI_MINI, Company, Defaults
from codi.givens import Stands, check_parts, check_places, number, stood
from codi.guidance import Guidance
from codi.media import kind_of
from codi.modality import registry
from codi.types import ClipSpec, InputError, Part

Media = Mapping[str, Any] | str | Sequence[Mapping[str, Any] | str] | None
"""What prompts: media by modality, or a text; a sequence of these is a batch of prompts."""

Prompts = tuple[Mapping[str, list[Any]], ...]

Scale = float | Mapping[str, float | None] | None
"""Of all outputs, by modality, or as it is where nobody names it."""

SHARES: Final = {
    "bridge_start": "share of the steps",
    "bridge_end": "share of the steps",
    "bridge_renewal": "noise level",
    "bridge_prompting": "noise level",
}
"""Of what is asked for by output, what lies between 0 and 1, and what that is."""


WHOLE: Final = ("guidance_interval",)
"""Of what is asked for by output, what is a whole number of at least 1."""


_OWN: Final = {"bridge": "bridge_scale", "renewal": "bridge_renewal", "prompting": "bridge_prompting"}
"""Fields of `Guidance` that are just what is asked for by output, and the argument."""


@dataclass(frozen=True)
class Call:
    """A checked call.

    Attributes:
        inputs: media that prompt, by modality, for each sample.
        outputs: modalities to make.
        companions: modalities that are made along, and not returned.
        given: what stands on the timeline, for each sample.
        negative: media in the place of the null prompt, for each sample.
        weights: of the inputs.
        guidance: of each output and companion.
        clip: what is made.
        steps, seed, samples, scheduler: as in `CoDiPipeline.__call__`.
    """

    inputs: Prompts
    outputs: tuple[str, ...]
    companions: tuple[str, ...]
    given: tuple[Mapping[str, Stands], ...]
    negative: Prompts
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
            "companions": list(self.companions),
            "num_inference_steps": self.steps,
            "guidance_scale": {name: scale.prompt for name, scale in self.guidance.items()},
            "bridge_scale": {name: scale.bridge for name, scale in self.guidance.items()},
            "bridge_start": {name: scale.start for name, scale in self.guidance.items()},
            "bridge_end": {name: scale.end for name, scale in self.guidance.items()},
            "guidance_end": next(iter(self.guidance.values())).prompt_end,
            "bridge_renewal": {name: scale.renewal for name, scale in self.guidance.items()},
            "bridge_prompting": {name: scale.prompting for name, scale in self.guidance.items()},
            "guidance_interval": {name: scale.interval for name, scale in self.guidance.items()},
            "weights": dict(self.weights),
            "num_outputs_per_prompt": self.samples,
            "duration": self.clip.duration,
            "fps": self.clip.fps,
            "size": self.clip.size,
            "scheduler": self.scheduler,
        }


def resolve(  # noqa: PLR0913  the arguments of the call
    *,
    inputs: Media,
    outputs: Sequence[str] | str,
    given: Media,
    seed: int | None,
    steps: int | None,
    guidance_scale: Scale,
    bridge_scale: Scale,
    negative: Media,
    weights: Mapping[str, float] | None,
    samples: int,
    clip: ClipSpec,
    scheduler: str | None,
    bridge_start: Scale = None,
    bridge_end: Scale = None,
    guidance_end: float = 1.0,
    guidance_interval: Scale = None,
    bridge_renewal: Scale = None,
    bridge_prompting: Scale = None,
    companions: Sequence[str] | str | None = None,
    makeable: Collection[str] | None = None,
    defaults: Defaults = CODI_MINI,
) -> Call:
    """Check a call and fill in its defaults.

    Args:
        makeable: modalities that can be companions where the call names none; None for all.

    Raises:
        InputError: names what is wrong.
    """
    wanted = names_of(outputs)
    copies = _whole("num_outputs_per_prompt", samples, 1)
    spread = _spread_all({"inputs": inputs, "given": given, "negative_prompt": negative}, copies)
    prompts, refused = (_prompts(spread[name]) for name in ("inputs", "negative_prompt"))
    _check_names(wanted, spread["given"][0], {**prompts[0], **refused[0]})
    stands = tuple({name: stood(media) for name, media in sample.items()} for sample in spread["given"])
    check_places(stands, clip)
    check_parts(stands)
    end = _share("guidance_end", guidance_end, "share of the steps")
    timed = dataclasses.replace(defaults, guidance=dataclasses.replace(defaults.guidance, prompt_end=end))
    asked = {
        "guidance_scale": guidance_scale,
        "guidance_interval": guidance_interval,
        "bridge_scale": bridge_scale,
        "bridge_start": bridge_start,
        "bridge_end": bridge_end,
        "bridge_renewal": bridge_renewal,
        "bridge_prompting": bridge_prompting,
    }
    _check_scales(asked)
    if companions is None:
        along = along_with(wanted, stands[0], asked, timed, makeable)
    else:
        along = names_of(companions)
        _check_companions(along, wanted, stands[0])
    weighed = _weights(weights or {}, {*prompts[0], *stands[0]})
    heard = [name for name in (*prompts[0], *stands[0]) if weighed.get(name, 1.0) > 0]
    around = Company(
        given=stands[0].keys(),
        prompting=[name for name in heard if name not in prompts[0]],
        asked=[name for name in heard if name in prompts[0]],
    )
    return Call(
        inputs=prompts,
        outputs=wanted,
        companions=along,
        given=stands,
        negative=refused,
        weights=weighed,
        guidance=_guidance((*wanted, *along), asked, timed, around, refuses=bool(refused[0])),
        clip=clip,
        steps=_whole("num_inference_steps", defaults.steps if steps is None else steps, 1),
        seed=_whole("seed", 0 if seed is None else seed, 0),
        samples=len(prompts),
        scheduler=scheduler,
    )


def usable(call: Call) -> Call:
    """A call whose media are each in the form that its modality takes.

    Raises:
        InputError: one that is of another form, or none.
    """
    given = tuple({name: givens.usable(stands, name) for name, stands in sample.items()} for sample in call.given)
    inputs, negative = _checked(call.inputs, "input"), _checked(call.negative, "negative_prompt")
    return dataclasses.replace(call, inputs=inputs, negative=negative, given=given)


def _checked(prompts: Prompts, what: str) -> Prompts:
    checks = {name: files.formats()[name].check for name in prompts[0]}
    for name, several in prompts[0].items():
        if not several:
            raise InputError(f"{what} {name}", "holds nothing", "give a medium, or leave the modality out")
    return tuple(
        {n: [checks[n](each, f"{what} {n}") for each in several] for n, several in row.items()} for row in prompts
    )


def along_with(
    outputs: Sequence[str],
    given: Collection[str],
    asked: Mapping[str, Scale],
    defaults: Defaults,
    makeable: Collection[str] | None = None,
) -> tuple[str, ...]:
    """The companions of outputs where a call names none; arguments as of `resolve`, scales in `asked`."""
    reading = [name for name in outputs if _bridged(name, asked, defaults).joins]
    found = [name for name in defaults.along(reading, given) if name not in outputs]
    return tuple(name for name in found if makeable is None or name in makeable)


def names_of(named: Iterable[str] | str, argument: str = "outputs") -> tuple[str, ...]:
    """One modality's name, or several.

    Raises:
        InputError: neither, by the argument's name.
    """
    if isinstance(named, str):
        return (named,)
    if isinstance(named, Iterable):
        return tuple(named)
    raise InputError(argument, f"is {kind_of(named)}", "give modalities by name")


def modalities_of(named: Iterable[str] | str, argument: str = "outputs") -> tuple[str, ...]:
    """The same, of modalities that there are.

    Raises:
        InputError: neither, or no modality.
    """
    names = names_of(named, argument)
    for name in names:
        if not isinstance(name, str) or name not in registry():
            raise InputError(str(name), "is not a modality", f"choose among {', '.join(registry())}")
    return names


def _batch(argument: str, media: Media) -> list[dict[str, Any]]:
    rows: list[Any] = list(media) if isinstance(media, list | tuple) else [media]
    for row in rows:
        if not (row is None or isinstance(row, str | Mapping)):
            raise InputError(argument, f"is {kind_of(row)}", "give a text, or media by modality")
    return [{"text": row} if isinstance(row, str) else dict(row or {}) for row in rows]


def _spread_all(media: Mapping[str, Media], copies: int) -> dict[str, list[dict[str, Any]]]:
    """By argument, one row a sample."""
    batches = {name: _batch(name, given) for name, given in media.items()}
    count = max(len(batch) for batch in batches.values())
    return {name: _spread(name, batch, count, copies) for name, batch in batches.items()}


def _prompts(rows: Sequence[Mapping[str, Any]]) -> Prompts:
    return tuple({name: _several(media) for name, media in row.items()} for row in rows)


def _spread(name: str, batch: list[dict[str, Any]], count: int, copies: int) -> list[dict[str, Any]]:
    """One row a sample: a single row serves all, and each is repeated for its copies."""
    if len(batch) not in (1, count):
        raise InputError(name, f"holds {len(batch)} prompts beside {count}", "give one, or as many as the others")
    rows = batch * count if len(batch) == 1 else batch
    shape = {key: len(_several(value)) for key, value in rows[0].items()}
    if any({key: len(_several(value)) for key, value in row.items()} != shape for row in rows):
        raise InputError(name, "mixes sets of modalities", "give every prompt of a batch the same")
    return [row for row in rows for _ in range(copies)]


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _check_names(outputs: Sequence[str], given: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    modalities_of((*outputs, *given, *inputs))
    if not outputs:
        raise InputError("outputs", "names nothing to make", f"choose among {', '.join(registry())}")
    for name in outputs:
        if list(outputs).count(name) > 1:
            raise InputError(
                name, "is asked for twice", "name each output once; more samples are num_outputs_per_prompt"
            )
        if name in given and not isinstance(given[name], Part):
            raise InputError(name, "is both given and an output", "name it in one of the two, or give a part of it")
    for name, media in given.items():
        if isinstance(media, Part) and name not in outputs:
            raise InputError(name, "is given in part and no output", "name it among the outputs too, or give it whole")


def _check_companions(named: Sequence[str], outputs: Sequence[str], given: Mapping[str, Stands]) -> None:
    for place, name in enumerate(named):
        if name not in registry():
            raise InputError(f"companions {name}", "is not a modality", f"choose among {', '.join(registry())}")
        if name in (*outputs, *named[:place]) or name in given:
            raise InputError(f"companions {name}", "is made or given anyway", "leave it out")


def _weights(weights: Mapping[str, float], named: Collection[str]) -> dict[str, float]:
    for name in weights:
        if name not in named:
            raise InputError(f"weights {name}", "weighs no input and no given", "name one of them")
    return {name: number(f"weights {name}", weight) for name, weight in weights.items()}


def _guidance(
    outputs: Sequence[str], asked: Mapping[str, Scale], defaults: Defaults, around: Company, refuses: bool
) -> dict[str, Guidance]:
    """By output, what is asked for, and the defaults where nothing is.

    Args:
        around: what is given, and what prompts, whatever is made.
        refuses: whether there is a negative prompt.
    """
    companies = _companies(outputs, asked, defaults, around)
    bridged = {output: _bridged(output, asked, defaults, company) for output, company in companies.items()}
    made = {}
    for output, scales in bridged.items():
        others = [other for name, other in bridged.items() if name != output]
        joined = scales.joins and any(other.start < scales.end for other in others)
        default = defaults.of(output, joined, companies[output] if scales.joins else ALONE)
        prompt, interval = (_own(name, asked[name], output) for name in ("guidance_scale", "guidance_interval"))
        if prompt is None:  # (where nothing is guided, nothing would read what is refused)
            prompt = scales.prompt if refuses and default.prompt <= 1 else default.prompt
        every = default.interval if interval is None else int(interval)
        made[output] = dataclasses.replace(scales, prompt=prompt, interval=every)
    return made


def _companies(
    outputs: Sequence[str], asked: Mapping[str, Scale], defaults: Defaults, around: Company
) -> dict[str, Company]:
    """By output, whom it is made beside; arguments as of `_guidance`."""
    levels = {name: _own("bridge_prompting", asked["bridge_prompting"], name) for name in outputs}
    stands = {*around.given}.difference(outputs)
    telling = {name for name, level in levels.items() if defaults.tells(name, level)}
    telling |= stands.intersection(around.prompting)
    return {name: Company({*outputs, *stands} - {name}, stands, telling - {name}, around.asked) for name in outputs}


def _bridged(output: str, asked: Mapping[str, Scale], defaults: Defaults, company: Company = ALONE) -> Guidance:
    """All but the prompt's scale and interval, which hang on which others bridges join it to."""
    default = defaults.of(output, joined=False, company=company)
    found = {name: _own(name, asked.get(name), output) for name in ("bridge_start", "bridge_end", *_OWN.values())}
    start, end = _span(found["bridge_start"], found["bridge_end"], default)
    named = {field: found[argument] for field, argument in _OWN.items()}
    filled: dict[str, Any] = {field: value for field, value in named.items() if value is not None}
    return dataclasses.replace(default, start=start, end=end, **filled)


def _span(start: float | None, end: float | None, default: Guidance) -> tuple[float, float]:
    """Where bridges begin and cease to act; where one of the two is named, the other is 0 or 1."""
    if start is None and end is None:
        return default.start, default.end
    return 0.0 if start is None else start, 1.0 if end is None else end


def _check_scales(scales: Mapping[str, Scale]) -> None:
    for name, values in scales.items():
        for modality in values if isinstance(values, Mapping) else ():
            if modality not in registry():
                raise InputError(f"{name} {modality}", "is not a modality", f"choose among {', '.join(registry())}")


def own(value: Scale, output: str) -> float | None:
    """What is asked for one output, as it was given; None where nothing is."""
    return value.get(output) if isinstance(value, Mapping) else value


def _own(name: str, asked: Scale, output: str) -> float | None:
    """What is asked for one output, checked; None where nothing is."""
    label, value = f"{name} {output}" if isinstance(asked, Mapping) else name, own(asked, output)
    if value is None:
        return None
    if name in WHOLE:
        return _whole(label, value, 1)
    return _share(label, value, SHARES[name]) if name in SHARES else number(label, value)


def _share(name: str, value: float, what: str) -> float:
    if number(name, value) > 1:
        raise InputError(f"{name} {value}", f"is no {what}", "give a number from 0 to 1")
    return float(value)


def _whole(name: str, value: float, least: int) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} {value}", f"is not a whole number of at least {least}", "give one")
    return int(value)
