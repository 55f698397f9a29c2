"""From the words on the command line to checked values. Nothing here imports torch."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codi import files
from codi.media import Media
from codi.types import At, InputError, Part

MANY = ("--inputs", "--given", "--outputs", "--companions", "--weights", "--negative")
"""Options that take any number of values."""

_ASSIGNED = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:@(?P<at>[^=\s]*))?=(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """One input or given.

    Attributes:
        modality: its name.
        value: as typed: a path, or the text itself.
        media: what was read.
        path: the file, None for text that was typed.
        at: the instant in seconds at which it stands, or None.
        spans: seconds of it that stand, while the rest is made.
        mask: a picture file, white where the media stand.
        strength: share of the steps that make it anew, None where it stands throughout.
    """

    modality: str
    value: str
    media: Media
    path: Path | None = None
    at: float | None = None
    spans: tuple[tuple[float, float], ...] = ()
    mask: Path | None = None
    strength: float | None = None

    @property
    def partial(self) -> bool:
        """Whether a part of it stands, and the rest is made."""
        return bool(self.spans) or self.mask is not None or self.strength is not None

    @property
    def placed(self) -> Media | At | Part:
        """The media as the pipeline takes it."""
        if self.partial:
            mask = None if self.mask is None else files.read_mask(self.mask)
            return Part(self.media, self.spans, mask, self.strength)
        return self.media if self.at is None else At(self.media, self.at)


def expand(arguments: Sequence[str]) -> list[str]:
    """Repeat an option of several values for each of them: `--inputs a b` becomes `--inputs a --inputs b`.

    Raises:
        InputError: such an option stands without a value.
    """
    expanded: list[str] = []
    option, waiting = "", False
    for argument in [*arguments, "--"]:
        starts_option = argument.startswith("-")
        if waiting and starts_option:
            raise InputError(option, "has no value", f"give at least one after {option}")
        if starts_option:
            option = argument if argument in MANY else ""
        waiting = bool(option) and starts_option
        if not waiting:
            expanded += [option, argument] if option else [argument]
    return expanded[:-1]


def check_modality(name: str) -> str:
    """A modality's name.

    Raises:
        InputError: there is no such modality.
    """
    if name not in files.formats():
        raise InputError(name or "''", "is not a modality", f"choose among {', '.join(files.formats())}")
    return name


def read_source(argument: str, option: str) -> Source:
    """Read one input: `text="..."`, `image=cat.png`, a bare file or a bare text.

    After an @ stands where a given stands: `image@0.5=frame.png` at an instant, `video@0:1=clip.mp4` or
    `audio@0:0.5,1.5:2=sound.wav` in some seconds alone, `image@mask.png=photo.png` where a mask is white,
    `video@~0.8=clip.mp4` until 0.8 of the steps are left.

    Raises:
        InputError: an unknown modality, a missing or unusable file, a place in time where none is taken.
    """
    found = _ASSIGNED.fullmatch(argument)
    if found is None:
        return _read_bare(argument, option)
    name, value = check_modality(found["name"]), found["value"]
    place = _place(f"{name}@{found['at']}", found["at"], option)
    media = files.parse(name, value)
    if media is not None:
        return Source(name, value, media, **place)
    if not value:
        raise InputError(name, "has no value", f"give {files.formats()[name].FORMATS}")
    path = Path(value).expanduser()
    return Source(name, value, files.formats()[name].read(path), path, **place)


def _place(name: str, at: str | None, option: str) -> dict[str, Any]:
    """What stands after the @, as fields of a Source."""
    if at is None:
        return {}
    if option != "--given":
        raise InputError(name, f"has a place, which {option} does not take", "use --given, or leave @ out")
    if at.startswith("~"):
        strength = _float(name, at[1:], "give the share of the steps that make it anew, as in video@~0.8=clip.mp4")
        return {"strength": number(name, strength, maximum=1, above=True)}
    if ":" in at:
        return {"spans": tuple(_span(name, span) for span in at.split(","))}
    if files.is_file(at):
        return {"mask": Path(at)}
    remedy = (
        "give seconds (image@0.5=frame.png), a span (video@0:1=clip.mp4), a mask's file (image@mask.png=a.png) "
        "or a strength (video@~0.8=clip.mp4)"
    )
    return {"at": number(name, _float(name, at, remedy))}


def _span(name: str, text: str) -> tuple[float, float]:
    start, _, stop = text.partition(":")
    remedy = "give seconds from and to, as in video@0:1=clip.mp4"
    first, last = (number(name, _float(name, moment, remedy)) for moment in (start or "0", stop))
    if last <= first:
        raise InputError(name, f"has a span that ends at {last:g} and begins at {first:g}", remedy)
    return first, last


def _float(name: str, text: str, remedy: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(name, f"{text!r} is not a number", remedy) from None


def _read_bare(argument: str, option: str) -> Source:
    if files.is_file(argument) or files.looks_like_path(argument):
        path = Path(argument).expanduser()
        name = files.modality_of(path)
        return Source(name, argument, files.formats()[name].read(path), path)
    name = files.typed()
    media = files.parse(name, argument)
    return Source(name, argument, media)


def read_sources(arguments: Sequence[str], option: str) -> tuple[Source, ...]:
    """Read all inputs of an option, in their order."""
    return tuple(read_source(argument, option) for argument in arguments)


def check_outputs(outputs: Sequence[str], given: Collection[str]) -> tuple[str, ...]:
    """The modalities to make.

    Raises:
        InputError: none, an unknown one, one asked twice, or one that is given.
    """
    if not outputs:
        raise InputError("--outputs", "is missing", f"name at least one of {', '.join(files.formats())}")
    for index, name in enumerate(outputs):
        check_modality(name)
        if name in outputs[:index]:
            raise InputError(name, "is asked twice in --outputs", "name it once; --num makes several")
        if name in given:
            raise InputError(name, "is both given and an output", "leave it out of --given or of --outputs")
    return tuple(outputs)


def companions(named: Sequence[str], there: Collection[str]) -> list[str]:
    """The modalities that are made along; `none` for nobody.

    Raises:
        InputError: an unknown one, or one that is there anyway.
    """
    if list(named) == ["none"]:
        return []
    for index, name in enumerate(named):
        if name not in files.formats():
            known = ", ".join(files.formats())
            raise InputError(f"--companions {name}", "is not a modality", f"choose among {known}, or none alone")
        if name in (*there, *named[:index]):
            raise InputError(f"--companions {name}", "is made or given anyway", "leave it out")
    return list(named)


def check_given(given: Sequence[Source]) -> tuple[Source, ...]:
    """Givens, one of each modality.

    Raises:
        InputError: a modality stands twice.
    """
    names = [source.modality for source in given]
    for name in names:
        if names.count(name) > 1:
            raise InputError(name, "is given twice", "give it once")
    return tuple(given)


def check_parts(given: Sequence[Source], outputs: Collection[str]) -> None:
    """Givens of which a part stands: the rest must be made, in the seconds that there are.

    Raises:
        InputError: such a given that is no output.
    """
    for source in given:
        if source.partial and source.modality not in outputs:
            raise InputError(source.modality, "is given in part and no output", "add it to --outputs, or leave @ out")


def number(name: str, value: float, minimum: float = 0.0, maximum: float = math.inf, above: bool = False) -> float:
    """A finite number within its bounds.

    Raises:
        InputError: NaN, infinite, or out of bounds (`above`: the minimum itself is out).
    """
    if math.isfinite(value) and minimum <= value <= maximum and not (above and value == minimum):
        return value
    least = f"above {minimum:g}" if above else f"from {minimum:g}"
    raise InputError(name, f"is {value}", f"give a number {least}{'' if math.isinf(maximum) else f' to {maximum:g}'}")


def whole(name: str, value: int, minimum: int, maximum: int) -> int:
    """A whole number within its bounds.

    Raises:
        InputError: out of bounds.
    """
    if minimum <= value <= maximum:
        return value
    raise InputError(name, f"is {value}", f"give a whole number from {minimum} to {maximum}")


def weights(arguments: Sequence[str], inputs: Collection[str]) -> dict[str, float]:
    """Parse `text=1,image=.5`.

    Raises:
        InputError: no number, a modality that is no input, or a number below 0.
    """
    found: dict[str, float] = {}
    for item in ",".join(arguments).split(","):
        name, _, value = item.strip().partition("=")
        if check_modality(name) not in inputs:
            raise InputError(
                f"--weights {name}", "weighs a modality that is not an input or given", "add it to --inputs"
            )
        if name in found:
            raise InputError(f"--weights {name}", "stands twice", "give one weight for each modality")
        weight = _float(f"--weights {name}", value, "write text=1,image=.5")
        found[name] = number(f"--weights {name}", weight)
    return found


def by_modality(sources: Sequence[Source]) -> Mapping[str, Media | list[Media]]:
    """Media by modality, as the pipeline takes them: a list where a modality has several."""
    grouped: dict[str, list[Media]] = {}
    for source in sources:
        grouped.setdefault(source.modality, []).append(source.placed)
    return {name: several[0] if len(several) == 1 else several for name, several in grouped.items()}
