"""Small codi-v1 bundles, converted once a session from files in the published layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from codi import CoDiPipeline
from codi.backbones.codi_v1.convert import convert
from tests.codi_v1 import small


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """The release's four files, small."""
    return small.release(tmp_path_factory.mktemp("published") / "files")


@pytest.fixture(scope="session")
def bundles(published, tmp_path_factory) -> dict[str, Path]:
    """A bundle in each mode."""
    folder = tmp_path_factory.mktemp("codi_v1")
    for mode in ("official", "partner"):
        convert(published, folder / mode, mode=mode)
    return {mode: folder / mode for mode in ("official", "partner")}


@pytest.fixture(scope="session")
def pipes(bundles) -> dict[str, CoDiPipeline]:
    """A pipeline over each; tests must not change them."""
    loaded = {mode: CoDiPipeline.from_pretrained(folder) for mode, folder in bundles.items()}
    for pipe in loaded.values():
        pipe.set_progress_bar_config(disable=True)
    return loaded
