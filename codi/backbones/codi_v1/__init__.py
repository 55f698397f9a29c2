"""The official CoDi release (i-Code-V3, Tang et al. 2023) as a backbone.

unet.py, layers.py       the denoisers: one walk over diffusers' UNet2DConditionModel and over the 0-D text UNet
temporal.py              what turns the image UNet, and CLIP's vision tower, into readers of clips
environment.py           environment encoders and readers of joint generation
modes.py                 as released, or as the paper describes
encoders.py              prompt encoders' and autoencoders' own parts
names.py, unet_parts.py, library_parts.py, official.py
the release's key names -> ours; `from_official`
branch.py                one output's networks and one pass of them
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codi.backbones.codi_v1.build import from_official

__all__ = ["from_official"]


def __getattr__(name: str) -> Any:
    """Load on first use: what only names the bundle's parts needs no torch."""
    if name == "from_official":
        return importlib.import_module("codi.backbones.codi_v1.build").from_official
    raise AttributeError(name)
