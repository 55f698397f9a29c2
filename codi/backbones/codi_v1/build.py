"""`from_official`: a part of the release, by its name, its configuration and its state dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from codi.backbones.codi_v1 import library_parts, unet_parts
from codi.backbones.codi_v1.modes import OFFICIAL, checked
from codi.backbones.codi_v1.official import Recipe, Report, State, from_recipes
from codi.types import InputError

Config = Mapping[str, Any]

_LIBRARY: dict[str, Callable[[Config, State], dict[str, Recipe]]] = {
    "kl": library_parts.kl,
    "audioldm": library_parts.audioldm,
    "clip": library_parts.clip,
    "clap": library_parts.clap,
    "optimus": library_parts.optimus,
}
PARTS = ("unet", *_LIBRARY)
"""The release's parts."""


@dataclass(frozen=True)
class Built:
    """A part.

    Attributes:
        modules: its components, by the names that a bundle has for them.
        report: what became of every tensor.
    """

    modules: dict[str, nn.Module]
    report: Report

    def __getitem__(self, name: str) -> Any:
        """A component."""
        return self.modules[name]


def recipes(part: str, config: Config, state: State, one_token: bool = True, mode: str = OFFICIAL) -> dict[str, Recipe]:
    """How each component of a part is made.

    Raises:
        InputError: no such part or mode, or a configuration that lacks it.
    """
    if part not in PARTS:
        raise InputError(f"part {part!r}", "is not one of the release's", f"choose among {', '.join(PARTS)}")
    try:
        if part == "unet":
            return unet_parts.recipes(config, state, one_token, checked(mode))
        return _LIBRARY[part](config, state)
    except KeyError as error:
        raise InputError(f"the configuration of {part}", f"lacks {error}", "give the release's") from error


def from_official(part: str, config: Config, state: State, *, one_token: bool = False, mode: str = OFFICIAL) -> Built:
    """Build a part of the release.

    Args:
        part: `unet`, `kl`, `audioldm`, `clip`, `clap` or `optimus`.
        config: in the release's words; widths that these do not say are read off the weights.
        state: tensors by the release's names, without the part's own prefix. Shared with the modules, not copied.
        one_token: leave out what a prompt of one token makes dead; such prompts are all that the release makes.
        mode: `official` or `partner`, see `codi.backbones.codi_v1.modes`.

    Returns:
        The components, frozen, and the report of missing and unused keys.

    Raises:
        InputError: no such part or mode, or a tensor of another shape than the configuration asks for.
    """
    return Built(*from_recipes(recipes(part, config, state, one_token, mode), state))
