"""State dicts under the release's key names -> modules, each tensor accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import init_empty_weights
from torch import nn

from codi.backbones.codi_v1.names import Rule, official
from codi.backbones.codi_v1.temporal import RATE_ROW
from codi.types import InputError

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one component of a bundle is made of the release.

    Attributes:
        build: the module, its weights not yet the release's.
        rules: what its keys are called in the release.
        own: keys that the release does not have, constants that `build` sets.
    """

    build: Callable[[], nn.Module]
    rules: Sequence[Rule]
    own: frozenset[str] = frozenset()


@dataclass
class Report:
    """What became of a state dict; all names are the release's.

    Attributes:
        missing: what no tensor was there for. Such weights stay on the meta device, where nothing can run: they are
            never random.
        unused: keys that nothing is known about.
        spare: keys that are known and not needed (see `SPARE`).
        identity: frame-shift blocks that were missing and became the identity, as one is in the published video file.
    """

    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)
    identity: list[str] = field(default_factory=list)


SPARE = (
    # Of a cross-attention to one token, the query, the key and the norm before them: the softmax over one key is 1.
    r"transformer_blocks\.\d+\.(attn2\.to_[qk]|norm2)\.",
    # CLIP: positions counted here, a scale that only its loss uses, tables that its temporal layers never read.
    r"\.position_ids$",
    r"(^|\.)logit_scale$",
    r"temporal_self_attn\.temporal_attn\.(pos|frame_rate)_embeds$",
    # CLAP: the classifier, the second projection, masks, and a mel front end that is computed here.
    r"audio_branch\.(tscam_conv|head)\.",
    r"audio_transform\.",
    r"\.attn_mask$",
    r"(spectrogram_extractor|logmel_extractor)\.",
    # AudioLDM: a mel front end that is computed here.
    r"fn_STFT\.",
    # GPT-2: causal masks, and the head, which is tied to the embedding.
    r"\.attn\.(bias|masked_bias)$",
    r"decoder\.lm_head\.weight$",
)
"""Names of the release that are known and not needed, as patterns."""

_SPARE = re.compile("|".join(SPARE))
_HEADS = ("query", "key", "value")


def from_recipes(recipes: Mapping[str, Recipe], state: State) -> tuple[dict[str, nn.Module], Report]:
    """All components of a part, and what became of its tensors.

    Raises:
        InputError: a tensor of another shape than the configuration asks for.
    """
    report, taken = Report(), set[str]()
    modules = {name: load(recipe, state, report, taken) for name, recipe in recipes.items()}
    left(state, taken, report)
    return modules, report


def load(recipe: Recipe, state: State, report: Report, taken: set[str]) -> nn.Module:
    """One component with the release's tensors, which it shares where they fit.

    Args:
        recipe: of the component.
        state: the release's tensors.
        report: completed.
        taken: names that were used, completed.

    Raises:
        InputError: a tensor of another shape.
    """
    with init_empty_weights(include_buffers=False):
        module = recipe.build()
    found: dict[str, torch.Tensor] = {}
    for key, wanted in module.state_dict().items():
        name = official(key, recipe.rules)
        if key in recipe.own:
            continue
        if not wanted.is_floating_point():
            # A table of indices: computed here, since the half-precision files hold it rounded.
            taken.add(name)
        elif name in state:
            taken.add(name)
            found[key] = fitted(key, name, state[name], wanted.shape)
        elif ".frameshiftblock." in name:
            found[key] = shift_identity(key, wanted.shape)
            report.identity.append(name)
        else:
            report.missing.append(name)
    module.load_state_dict(found, strict=False, assign=True)
    return module.eval().requires_grad_(False)


def left(names: Iterable[str], taken: set[str], report: Report) -> None:
    """Sort what nothing took into what is known and what is not."""
    for name in sorted(set(names) - taken):
        (report.spare if _SPARE.search(name) else report.unused).append(name)


def fitted(key: str, name: str, tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A tensor in our shape: sides of 1 come and go, one row of the frame-rate table is read, a joint projection split.

    Raises:
        InputError: another shape.
    """
    found = tuple(tensor.shape)
    if name.endswith("frame_rate_embeds"):
        tensor = tensor[0, RATE_ROW]
    if ".attn.qkv." in name:
        tensor = tensor.chunk(3)[_HEADS.index(key.split(".")[-2])]
    if [side for side in tensor.shape if side != 1] != [side for side in shape if side != 1]:
        raise InputError(name, f"has shape {found}", f"the configuration asks for {tuple(shape)}")
    return tensor.reshape(shape)


def shift_identity(key: str, shape: torch.Size) -> torch.Tensor:
    """Weights of a frame shift that changes nothing: its convolution is zero."""
    return torch.ones(shape) if key.endswith("norm.weight") else torch.zeros(shape)
