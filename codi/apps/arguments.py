"""From the words on the command line to checked values. Nothing here imports torch."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codi import files
from codi.media import Media
from codi.types import At, InputError

MANY = ("--inputs", "--given", "--outputs", "--weights", "--negative")
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
    """

    modality: str
    value: str
    media: Media
    path: Path | None = None
    at: float | None = None

    @property
    def placed(self) -> Media | At:
        """The media as the pipeline takes it."""
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
    """Read one input: `text="..."`, `image=cat.png`, `image@0.5=frame.png`, a bare file or a bare text.

    Raises:
        InputError: an unknown modality, a missing or unusable file, a place in time where none is taken.
    """
    found = _ASSIGNED.fullmatch(argument)
    if found is None:
        return _read_bare(argument, option)
    name, value = check_modality(found["name"]), found["value"]
    at = _place(f"{name}@{found['at']}", found["at"], option)
    media = files.parse(name, value)
    if media is not None:
        return Source(name, value, media, at=at)
    if not value:
        raise InputError(name, "has no value", f"give {files.formats()[name].FORMATS}")
    path = Path(value).expanduser()
    return Source(name, value, files.formats()[name].read(path), path, at)


def _place(name: str, at: str | None, option: str) -> float | None:
    if at is None:
        return None
    if option != "--given":
        raise InputError(name, f"has a time, which {option} does not take", "use --given, or leave @ out")
    return number(name, _float(name, at, "give seconds, as in image@0.5=frame.png"))


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
            raise InputError(f"--weights {name}", "weighs a modality that is not an input", "add it to --inputs")
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
