"""The readers' weights, shipped with the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import torch
from safetensors.torch import load_file
from torch import nn

from codi.worlds.sounding_shapes.readers.networks import ClipNet, FrameNet, SoundNet

N = TypeVar("N", bound=nn.Module)

WEIGHTS: Final = Path(__file__).with_name("readers.safetensors")


@cache
def networks() -> tuple[FrameNet, ClipNet, SoundNet]:
    """The trained networks in full precision, in evaluation mode."""
    state = load_file(WEIGHTS)
    return _loaded(FrameNet(), "frame", state), _loaded(ClipNet(), "clip", state), _loaded(SoundNet(), "sound", state)


def _loaded(net: N, name: str, state: dict[str, torch.Tensor]) -> N:
    own = {k.removeprefix(f"{name}."): v.float() for k, v in state.items() if k.startswith(f"{name}.")}
    missing, _ = net.load_state_dict(own, strict=False)
    wanted = [key for key in missing if not key.endswith("num_batches_tracked")]
    if wanted:
        raise RuntimeError(f"{WEIGHTS} lacks {wanted}; train the readers again")
    return net.eval()
