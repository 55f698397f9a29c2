"""Read a recipe out of a file and turn it into the request that it remembers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from codi import files
from codi.apps.arguments import Source
from codi.apps.request import Request
from codi.types import InputError


def read(path: Path) -> dict[str, Any]:
    """The recipe that a file carries.

    Raises:
        InputError: no usable file, or one without a recipe of codi.
    """
    text = files.formats()[files.modality_of(path)].read_recipe(path)
    try:
        recipe = json.loads(text or "")
    except ValueError:
        recipe = None
    if not isinstance(recipe, dict) or not {"model", "inputs", "outputs"} <= recipe.keys():
        raise InputError(str(path), "carries no recipe", "give a file that codi generate made, without --no-recipe")
    return recipe


def request(recipe: Mapping[str, Any], name: str) -> Request:
    """The request that a recipe remembers.

    Args:
        recipe: as `read` gives it.
        name: the file that it stands in, for error messages.

    Raises:
        InputError: a file that went in is missing or has changed, or the recipe is not one of the command line.
    """
    try:
        return Request(
            inputs=_sources(recipe["inputs"]),
            given=_sources(recipe.get("given", [])),
            negative=_sources(recipe.get("negative", [])),
            outputs=tuple(recipe["outputs"]),
            parameters=parameters(recipe),
            model=recipe["model"],
            **{key: recipe[key] for key in ("device", "dtype") if key in recipe},
        )
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(name, "has a recipe that cannot be replayed", "replay it from Python") from error


BEFORE: Final[dict[str, Any]] = {"companions": [], "bridge_prompting": 0.0, "guidance_interval": 1}
"""What recipes from before these were named mean by leaving them out."""


def parameters(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Those that it names; before recipes named companions, or who prompts others, there were none."""
    named = {name: value for name, value in recipe.get("parameters", {}).items() if value is not None}
    return named | {name: meant for name, meant in BEFORE.items() if name not in named}


def _sources(kept: list[Mapping[str, Any]]) -> tuple[Source, ...]:
    return tuple(_source(one) for one in kept)


def _source(kept: Mapping[str, Any]) -> Source:
    name = kept["modality"]
    if "path" not in kept:
        media = files.parse(name, kept["value"])
        return Source(name, kept["value"], media, at=kept.get("at"), strength=kept.get("strength"))
    path = Path(kept["path"]).expanduser()
    media = files.formats()[name].read(path)
    _check_same(path, kept["sha256"])
    mask = Path(kept["mask"]).expanduser() if "mask" in kept else None
    if mask is not None:
        _check_same(mask, kept["mask_sha256"])
    spans = tuple((float(start), float(stop)) for start, stop in kept.get("spans", ()))
    return Source(name, kept["path"], media, path, kept.get("at"), spans, mask, kept.get("strength"))


def _check_same(path: Path, sha256: str) -> None:
    if not files.is_file(str(path)) or files.sha256(path) != sha256:
        raise InputError(str(path), "is not the file that the recipe was made with", "put the original back")


def summary(path: Path) -> list[str]:
    """What a file is and how it was made, in lines."""
    name = files.modality_of(path)
    lines = [f"{path}: {name}, {_shape(files.formats()[name].read(path))}"]
    text = files.formats()[name].read_recipe(path)
    try:
        lines.append(json.dumps(json.loads(text or ""), indent=2, ensure_ascii=False))
    except ValueError:
        lines.append("no recipe")
    return lines


def _shape(media: Any) -> str:
    """The size of media in words, from its fields: arrays by shape, numbers by value."""
    if isinstance(media, str):
        return repr(media)
    if dataclasses.is_dataclass(media):
        fields = ((field.name, getattr(media, field.name)) for field in dataclasses.fields(media))
        return ", ".join(f"{name} {_shape(value)}" for name, value in fields if value is not None)
    return " x ".join(map(str, media.shape)) if hasattr(media, "shape") else f"{media:g}"
