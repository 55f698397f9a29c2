"""codi: a composable any-to-any multimodal generation engine.

`from codi import CoDiPipeline`. Everything loads on first use: `import codi` costs nothing, and diffusers finds the
component classes of a bundle here by name.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "CoDiPipeline": "codi.pipeline",
    "CoDiOutput": "codi.pipeline",
    "InputError": "codi.types",
    "At": "codi.types",
    "Part": "codi.types",
    "Audio": "codi.media",
    "Video": "codi.media",
}
_COMPONENTS = {
    "PatchAutoencoder": "codi.networks.patch_autoencoder",
    "EnvironmentEncoder": "codi.environment",
    "Bridge": "codi.bridge",
}
# Backbones other than the shipped one declare their classes here, without importing torch.
_BACKBONES = ("codi.backbones.codi_v1.modalities",)
# diffusers asks the library of a component for the base classes it may have.
_BASES = {"ModelMixin": "diffusers", "SchedulerMixin": "diffusers"}


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    table = {**_PUBLIC, **_COMPONENTS, **_BASES}
    if name not in table:
        from codi.modality import registry

        table = {key: module for modality in registry().values() for key, module in modality.classes.items()}
    if name not in table:
        table = {key: place for module in _BACKBONES for key, place in importlib.import_module(module).CLASSES.items()}
    if name not in table:
        raise AttributeError(f"module 'codi' has no attribute {name!r}")
    return getattr(importlib.import_module(table[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
