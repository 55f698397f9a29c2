"""The manifest of a bundle: a format version, and the size and hash of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from codi.types import InputError

MANIFEST = "manifest.json"
FORMAT = 1
_REMEDY = "restore the bundle, from git or the wheel"


def described(folder: Path, parts: Collection[str] | None = None) -> str:
    """The manifest of a bundle's files as they are now; of those in the folders or files `parts` alone, if named."""
    found = [folder] if parts is None else [folder / part for part in parts]
    paths = {path for place in found for path in (place, *place.rglob("*"))}
    files = sorted(p for p in paths if p.is_file() and p.name not in (MANIFEST, "README.md"))
    rows = {str(p.relative_to(folder)): {"bytes": p.stat().st_size, "sha256": _sha256(p)} for p in files}
    return json.dumps({"format": FORMAT, "files": rows}, indent=1, sort_keys=True) + "\n"


def write_manifest(folder: Path) -> None:
    """Describe the files of a bundle in it."""
    (folder / MANIFEST).write_text(described(folder))


def check_bundle(folder: Path) -> None:
    """Compare a bundle with its manifest; one without a manifest (a user's own) passes.

    Raises:
        InputError: a newer format, or a file that is missing, truncated or altered.
    """
    path = folder / MANIFEST
    if not path.exists():
        return
    try:
        manifest = json.loads(path.read_text())
        version, files = int(manifest["format"]), dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "is a damaged manifest", _REMEDY) from error
    if version > FORMAT:
        raise InputError(str(folder), f"is a bundle of format {version}", f"update codi, which knows {FORMAT}")
    for name, row in files.items():
        _check_file(folder / name, int(row["bytes"]), str(row["sha256"]))


def _check_file(path: Path, size: int, digest: str) -> None:
    if not path.is_file():
        raise InputError(str(path), "is missing from the bundle", _REMEDY)
    if path.stat().st_size != size:
        raise InputError(str(path), f"has {path.stat().st_size} bytes instead of {size}", _REMEDY)
    if _sha256(path) != digest:
        raise InputError(str(path), "is not what the manifest says (its hash differs)", _REMEDY)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
