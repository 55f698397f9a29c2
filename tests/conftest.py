"""The debug bundle, built once a session, and a pipeline over it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from codi import CoDiPipeline
from codi.backbones.codi_mini import debug_bundle


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Bitwise claims hold at equal thread counts, and CI has two cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """A bundle of random weights whose bridges are not zero."""
    return debug_bundle(tmp_path_factory.mktemp("bundles") / "debug")


@pytest.fixture(scope="session")
def pipe(bundle) -> CoDiPipeline:
    """A pipeline over the debug bundle; tests must not change it."""
    loaded = CoDiPipeline.from_pretrained(bundle)
    loaded.set_progress_bar_config(disable=True)
    return loaded
