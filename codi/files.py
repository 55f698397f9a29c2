"""Files of every modality: which modality a file holds, what a set of results is called, writing them as one set."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

import codi.modalities
from codi.media import Media, check_file, describe, staging
from codi.types import InputError


class MediaModule(Protocol):
    """What `codi/modalities/<name>/media.py` offers.

    It may also offer `parse(value, name)`, for media that can be typed on the command line itself; `forget(path)`,
    where recipes stand beside files; `CARRIES`, `attach(media, other)` and `mux_original(path, other, out, recipe)`,
    for files that hold another modality beside their own.
    """

    SUFFIX: str
    SUFFIXES: tuple[str, ...]
    FORMATS: str

    def sniff(self, path: Path) -> bool:
        """Whether the content of the file is of this modality."""

    def check(self, media: Any, name: str) -> Media:
        """A medium as Python gives it, in the form that the engine takes; InputError says what is wrong with it."""

    def read(self, path: Path) -> Media:
        """Read the file; InputError says what is wrong with it."""

    def write(self, media: Media, path: Path, recipe: str | None) -> None:
        """Write the file whole, the recipe inside."""

    def read_recipe(self, path: Path) -> str | None:
        """The recipe inside the file."""


@lru_cache(maxsize=1)
def formats() -> Mapping[str, MediaModule]:
    """The media side of each modality, by name: one for each folder of `codi/modalities`."""
    folders = (found.name for found in pkgutil.iter_modules(codi.modalities.__path__) if found.ispkg)
    modules = {name: importlib.import_module(f"codi.modalities.{name}.media") for name in sorted(folders)}
    return cast("Mapping[str, MediaModule]", modules)


def typed() -> str:
    """The modality that a bare string on the command line means: the one that can be typed."""
    return next(name for name, module in formats().items() if hasattr(module, "parse"))


def parse(name: str, value: str) -> Media | None:
    """Media typed as a value, or None where the value names a file."""
    reader = getattr(formats()[name], "parse", None)
    if reader is None or Path(value).suffix.lower() in formats()[name].SUFFIXES or is_file(value):
        return None
    return reader(value, name)


def is_file(value: str) -> bool:
    """Whether a value names an existing file; a caption may be too long for a file name."""
    try:
        return Path(value).is_file()
    except (OSError, ValueError):
        return False


def looks_like_path(value: str) -> bool:
    """Whether a bare value was meant as a file: a known suffix, or a slash where a caption would have spaces."""
    suffixes = {suffix for module in formats().values() for suffix in module.SUFFIXES}
    rooted = value.startswith(("/", "./", "../", "~"))
    return rooted or Path(value).suffix.lower() in suffixes or ("/" in value and not value.split()[1:])


def modality_of(path: Path) -> str:
    """The modality of a file, by its content.

    Raises:
        InputError: missing, empty, or of no known format.
    """
    known = ", ".join(module.FORMATS for module in formats().values())
    check_file(path, known)
    # Text first: a caption may begin like another format ("ID3 tags are ..."), no other format is UTF-8.
    for name in sorted(formats(), key=lambda name: name != typed()):
        if formats()[name].sniff(path):
            return name
    raise InputError(str(path), f"holds {describe(path)} that cannot be used", f"give {known}")


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A picture file as a mask: True where it is lighter than the middle."""
    picture = formats()[modality_of(path)].read(path)
    if getattr(picture, "ndim", 0) != 3:
        raise InputError(str(path), "is no picture", "give one that is white where the media stand")
    return np.asarray(picture.mean(-1) > 127.5)


def sha256(path: Path) -> str:
    """The hash of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_name(name: str, index: int, count: int) -> str:
    """`video.mp4`, or `video_<index>.mp4` where there are several."""
    return f"{name}{'' if count == 1 else f'_{index}'}{formats()[name].SUFFIX}"


def written(outputs: Sequence[str], given: Collection[str], count: int) -> list[str]:
    """The files that `save` writes: of the outputs, and of given files that carry one of them."""
    carrying = [name for name in given if getattr(formats()[name], "CARRIES", "") in outputs]
    return [file_name(name, index, count) for name in (*outputs, *carrying) for index in range(count)]


def save(
    made: Mapping[str, Sequence[Media]], folder: Path, recipe: str | None, given: Mapping[str, Path] | None = None
) -> list[Path]:
    """Write results, all or none.

    A result that carries another one (video its sound) is written with it; a given file that can carry a result is
    written with that in it and its own packets kept.

    Args:
        made: the results of each modality, as many of each.
        folder: where to; made where it is missing.
        recipe: JSON that goes into every file, or None.
        given: the files that were given.

    Returns:
        The files, in the order of `made`.

    Raises:
        InputError: something cannot be written.
    """
    names: list[str] = []
    with staging(folder) as stage:
        for name, several in made.items():
            for index, media in enumerate(several):
                names.append(file_name(name, index, len(several)))
                _write(name, _carrying(name, media, made, index), stage / names[-1], recipe)
        for name, path in (given or {}).items():
            names += _mux(name, path, made, stage, recipe)
    if recipe is None:
        _forget(made, folder)
    return [folder / name for name in names]


def _forget(made: Mapping[str, Sequence[Media]], folder: Path) -> None:
    """Remove recipes beside files that were written anew without one: they are of what stood there before."""
    for name, several in made.items():
        forget: Any = getattr(formats()[name], "forget", None)
        for index in range(len(several)) if forget else ():
            forget(folder / file_name(name, index, len(several)))


def _write(name: str, media: Media, path: Path, recipe: str | None) -> None:
    formats()[name].write(media, path, recipe)


def _carrying(name: str, media: Media, made: Mapping[str, Sequence[Media]], index: int) -> Media:
    module: Any = formats()[name]
    carried = made.get(getattr(module, "CARRIES", ""))
    return media if carried is None else module.attach(media, carried[index])


def _mux(name: str, path: Path, made: Mapping[str, Sequence[Media]], stage: Path, recipe: str | None) -> list[str]:
    module: Any = formats()[name]
    carried = made.get(getattr(module, "CARRIES", ""), ())
    names = [file_name(name, index, len(carried)) for index in range(len(carried))]
    for media, out in zip(carried, names, strict=True):
        module.mux_original(path, media, stage / out, recipe)
    return names
