"""`codi doctor`: is this installation whole, and if not, what to do."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from codi import bundles, ffmpeg
from codi.manifest import check_bundle
from codi.types import InputError

PACKAGE: Final = "codi-engine"
NEEDED: Final = 2 * 2**30
"""Bytes of memory, to be had without swapping, below which a joint sample may fail."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: it, and what was found.
        remedy: what to do; empty where all is well.
    """

    what: str
    remedy: str = ""


def examine(model: str = bundles.DEFAULT) -> list[Finding]:
    """Look at everything; a check never raises."""
    checks: list[Callable[[], Finding]] = [_python, _packages, _torch, _torchaudio, _transformers, _program]
    return [check() for check in checks] + [_bundle(model), _machine(), _cache()]


def _python() -> Finding:
    found = f"Python {platform.python_version()} at {sys.executable}"
    return Finding(found, "" if sys.version_info >= (3, 11) else "use Python 3.11 or newer")


def _packages() -> Finding:
    """Every requirement of the distribution that is not of an extra."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires(PACKAGE) or () if "extra ==" not in line]
    except PackageNotFoundError:
        return Finding(f"{PACKAGE} is not installed", "run pip install -e . in its folder")
    wrong = [str(one) for one in wanted if not one.specifier.contains(_version(one.name) or "0", prereleases=True)]
    if wrong:
        return Finding(f"packages: {', '.join(wrong)} not met", "run pip install " + " ".join(f'"{w}"' for w in wrong))
    return Finding(f"packages: all {len(wanted)} in the versions that codi wants")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch() -> Finding:
    found = _imported("torch", "torch.__version__, torch.version.cuda or 'no CUDA'")
    if found.error:
        return Finding(f"torch cannot be imported: {found.error}", "run pip install --force-reinstall torch")
    return Finding(f"torch {found.text}")


def _torchaudio() -> Finding:
    """A torchaudio of another index or CUDA than torch fails to load its libraries, and takes transformers with it."""
    found = _imported("torchaudio", "torchaudio.__version__")
    if not found.error:
        return Finding(f"torchaudio {found.text}")
    build = _imported("torch", "torch.__version__, torch.version.cuda or 'cpu'").text
    index = "https://download.pytorch.org/whl/cpu" if "cpu" in build else "the index that torch came from"
    remedy = f"both must come from one index: pip install --force-reinstall torch torchaudio --index-url {index}"
    return Finding(f"torchaudio {_version('torchaudio')} does not fit torch {build}: {found.error}", remedy)


def _transformers() -> Finding:
    found = _imported("transformers.models.auto, diffusers", "diffusers.__version__")
    if not found.error:
        return Finding(f"transformers {_version('transformers')}, diffusers {found.text}")
    remedy = "mend torchaudio first if it is named above; else pip install --force-reinstall transformers diffusers"
    return Finding(f"transformers and diffusers cannot be imported: {found.error}", remedy)


@dataclass(frozen=True)
class _Found:
    text: str = ""
    error: str = ""


def _imported(modules: str, shown: str) -> _Found:
    """Import in a process of its own: a broken library may end it."""
    code = f"import {modules}\nprint(*({shown},))"
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return _Found(text=" ".join(run.stdout.split()))
    lines = run.stderr.strip().splitlines() or [f"it ended with status {run.returncode}"]
    return _Found(error=re.sub(r"\s+", " ", lines[-1])[:200])


def _program() -> Finding:
    try:
        return Finding(f"ffmpeg at {ffmpeg.program()}")
    except (OSError, RuntimeError, ImportError) as error:
        return Finding(f"ffmpeg: {error}", "run pip install --force-reinstall imageio-ffmpeg")


def _bundle(model: str) -> Finding:
    try:
        folder = bundles.find_bundle(model)
        check_bundle(folder)
    except InputError as error:
        return Finding(f"bundle {error.name}: {error.problem}", error.remedy)
    return Finding(f"bundle {model} at {folder}, every file as its manifest says")


def _machine() -> Finding:
    cuda = _imported("torch", "torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'").text
    try:
        import psutil
    except ImportError:
        return Finding(f"{os.cpu_count()} cores, {cuda or 'no GPU'}, psutil is missing", "run pip install psutil")
    # What files only pass through (the page cache) can be had too: on a machine that has been up for long, little else
    # is free.
    cores, memory = os.cpu_count(), psutil.virtual_memory().available
    found = f"{cores} cores, {memory / 2**30:.1f} GiB of memory free, {cuda or 'no GPU'}"
    return Finding(found, "" if memory > NEEDED else "close something: a joint sample takes up to 2 GiB")


def _cache() -> Finding:
    """Where `codi pull` and training write."""
    folder = Path.home() / ".cache" / "codi"
    place = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(place, os.W_OK):
        return Finding(f"{place} cannot be written", "set CODI_BUNDLES and CODI_RUNS to folders that can")
    return Finding(f"{folder}: {shutil.disk_usage(place).free / 2**30:.0f} GiB free")
