"""`codi convert` and `codi pull`: public weights of other projects -> bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from codi.apps.request import quiet
from codi.types import InputError

Say = Callable[[str], None]
BACKBONES = ("codi-v1",)


def convert(backbone: str, source: Path, target: Path, dtype: str | None, mode: str, say: Say) -> None:
    """Convert and say what became of it.

    Raises:
        InputError: no such backbone, or as of `codi.backbones.codi_v1.convert.convert`.
    """
    _check(backbone)
    if not source.is_dir():
        raise InputError(str(source), "is no folder", "give the one that holds the published files")
    quiet()
    from codi.backbones.codi_v1.convert import convert as run

    summary = run(source, target, dtype, mode, say)
    for line in summary.lines:
        say(line)
    say(f"{target}: {len(summary.components)} parts, {mode} mode")


def pull(backbone: str, revision: str | None, target: Path | None, dtype: str | None, mode: str, say: Say) -> None:
    """Fetch, convert, and say where the bundle stands.

    Raises:
        InputError: no such backbone, no connection, or as of `convert`.
    """
    _check(backbone)
    from codi.bundles import fetched_folder

    place = target or fetched_folder() / backbone
    if place.exists():
        raise InputError(str(place), "exists already", "remove it first, or name another folder with --to")
    quiet()
    from codi.backbones.codi_v1.pull import fetch

    source = fetch(place.with_name(place.name + ".files"), revision, half=dtype == "float16", say=say)
    convert(backbone, source, place, dtype, mode, say)
    say(f"{source}: the published files; remove them if you need the space")


def _check(backbone: str) -> None:
    if backbone not in BACKBONES:
        raise InputError(backbone, "is no backbone whose weights are known", f"choose among {', '.join(BACKBONES)}")
