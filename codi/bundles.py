"""Where bundles are: a name, or a folder, to the folder that holds the weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codi.manifest import MANIFEST, described
from codi.types import InputError

DEFAULT = "codi-mini"
_INDEX = "model_index.json"
_REMEDY = f"give {DEFAULT} or a folder that holds {_INDEX}"
_MAX_HEADER = 100 * 2**20


@dataclass(frozen=True)
class Component:
    """One weight file of a bundle.

    Attributes:
        name: path inside the bundle; its first folder is the part.
        parameters: how many numbers its tensors hold.
        size: bytes on disk.
    """

    name: str
    parameters: int
    size: int

    @property
    def part(self) -> str:
        """The component of the pipeline that it belongs to."""
        return Path(self.name).parts[0]


FETCHED = {"codi-v1": "fetch it with `codi pull codi-v1`, or convert its files with `codi convert codi-v1`"}
"""Bundles that are not shipped, by name, and how to get them."""


def shipped() -> tuple[Path, ...]:
    """The folders that hold shipped bundles: of a source checkout, of an installed wheel."""
    package = Path(__file__).resolve().parent
    return package.parent / "checkpoints", package / "_bundle"


def fetched_folder() -> Path:
    """Where `codi pull` puts bundles: $CODI_BUNDLES, or the user's cache folder."""
    return Path(os.environ.get("CODI_BUNDLES") or Path.home() / ".cache" / "codi" / "bundles")


def find_bundle(name: str) -> Path:
    """The folder of a bundle.

    Args:
        name: a shipped bundle ("codi-mini"), a fetched one or a folder. Nothing is fetched from the network.

    Raises:
        InputError: there is no such bundle.
    """
    for folder in (Path(name).expanduser(), *(place / name for place in (*shipped(), fetched_folder()))):
        if name and (folder / _INDEX).is_file():
            return _checked(folder)
    if Path(name).is_dir():
        raise InputError(name or "--model", f"is a folder without {_INDEX}", _REMEDY)
    if name in FETCHED:
        raise InputError(name, "is not here yet", FETCHED[name])
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise InputError(name, "is no folder, and hub ids are not fetched", f"fetch it first, then {_REMEDY}")
    raise InputError(name or "--model", "is no bundle", _REMEDY)


def _checked(folder: Path) -> Path:
    """The folder, if its index is one.

    Raises:
        InputError: the index is damaged.
    """
    try:
        index = json.loads((folder / _INDEX).read_text("utf-8"))
    except ValueError:
        index = None
    if not isinstance(index, dict) or "_class_name" not in index:
        raise InputError(str(folder / _INDEX), "is not the index of a bundle", _REMEDY)
    return folder


def pipeline_name(folder: Path) -> str:
    """The class that the index of a bundle names."""
    return str(json.loads((folder / _INDEX).read_text("utf-8"))["_class_name"])


def bundle_hash(folder: Path) -> str:
    """SHA-256 of the bundle's manifest of hashes, or, where it has none, of what that would say of its components."""
    manifest = folder / MANIFEST
    if manifest.is_file():
        return hashlib.sha256(manifest.read_bytes()).hexdigest()
    named = [name for name in json.loads((folder / _INDEX).read_text("utf-8")) if not name.startswith("_")]
    return hashlib.sha256(described(folder, (_INDEX, *named)).encode()).hexdigest()


def components(folder: Path) -> Iterator[Component]:
    """The weight files of a bundle, from their headers alone.

    Raises:
        InputError: a weight file is damaged.
    """
    for path in sorted(folder.rglob("*.safetensors")):
        tensors = {name: entry for name, entry in _header(path).items() if name != "__metadata__"}
        parameters = sum(_count(entry["shape"]) for entry in tensors.values())
        yield Component(str(path.relative_to(folder)), parameters, path.stat().st_size)


def _count(shape: list[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, _MAX_HEADER)))
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error
    if path.stat().st_size != 8 + length + end:
        raise _damaged(path)
    return dict(header)


def _damaged(path: Path) -> InputError:
    return InputError(str(path), "is a damaged weight file", "restore the bundle, from git or the wheel")
