"""The part `unet` of the release: three UNets, their environment encoders and readers, the temporal layers of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from codi.backbones.codi_v1 import names
from codi.backbones.codi_v1.environment import FrameLayers, LatentEnvironment, Readers, VectorEnvironment, stages
from codi.backbones.codi_v1.official import Recipe, State
from codi.backbones.codi_v1.unet import Levels, PictureUNet, TextUNet

Config = Mapping[str, Any]
UNETS = ("image", "text", "audio")


def recipes(config: Config, state: State, one_token: bool, mode: str) -> dict[str, Recipe]:
    """How every component of the part is made.

    Args:
        config: with `context_dim` and any of `unet_image`, `unet_text`, `unet_audio`, in the release's words.
        state: widths that the configuration does not say are read off it.
        one_token: prompts are one token: dead projections are left out.
        mode: see `modes`.
    """
    found: dict[str, Recipe] = {}
    for name in UNETS:
        if f"unet_{name}" in config:
            found |= _Part(name, config[f"unet_{name}"], int(config["context_dim"]), one_token, mode).recipes(state)
    return found


@dataclass(frozen=True)
class _Part:
    """One of the UNets, with what belongs to it."""

    name: str
    given: Config
    context: int
    one_token: bool
    mode: str

    @property
    def vector(self) -> bool:
        """Whether its hidden states have no space."""
        return "second_dim" in self.given

    @property
    def clips(self) -> bool:
        """Whether it has temporal layers."""
        return bool(self.given.get("use_video_architecture"))

    @property
    def levels(self) -> Levels:
        widths = [self.given["model_channels"] * mult for mult in self.given["channel_mult"]]
        return Levels(widths, self.given["num_noattn_blocks"], self.given["with_attn"])

    @property
    def environment_steps(self) -> dict[str, int | None]:
        """Channels by site; None for a step down."""
        widths = [self.given["model_channels"] * mult for mult in self.given["channel_mult_connector"]]
        steps = stages(widths, self.given["num_noattn_blocks_connector"])
        return {f"environment_{index}": width for index, width in enumerate(steps, start=1)}

    def recipes(self, state: State) -> dict[str, Recipe]:
        found = {f"{self.name}_denoiser": self.unet()}
        if self.given.get("connector_output_channel"):
            found[f"{self.name}_environment"] = self.environment()
            found[f"{self.name}_readers"] = self.readers()
        return found | (self.frames(state) if self.clips else {})

    def unet(self) -> Recipe:
        given = self.given
        options: dict[str, Any] = {
            "channels": given["input_channels"],
            "width": given["model_channels"],
            "channel_mult": given["channel_mult"],
            "blocks": given["num_noattn_blocks"],
            "attention": given["with_attn"],
            "heads": given["num_heads"],
            "context": self.context,
            "one_token": self.one_token,
            "mode": self.mode,
        }
        if self.vector:
            rules = names.text_rules(self.name, self.levels)
            return Recipe(partial(TextUNet, **options, tokens=given["second_dim"]), rules)
        return Recipe(partial(PictureUNet, **options), names.picture_rules(self.name, self.levels, self.clips))

    def environment(self) -> Recipe:
        given = self.given
        options: dict[str, Any] = {
            "channels": given["input_channels"],
            "width": given["model_channels"] // 2,
            "widths": [given["model_channels"] * mult for mult in given["channel_mult_connector"]],
            "blocks": given["num_noattn_blocks_connector"],
            "out_channels": given["connector_output_channel"],
        }
        steps = {site: "down" if width is None else "block" for site, width in self.environment_steps.items()}
        rules = names.environment_rules(self.name, steps, self.clips, self.vector)
        if self.vector:
            return Recipe(partial(VectorEnvironment, **options, tokens=given["second_dim_connector"]), rules)
        return Recipe(partial(LatentEnvironment, **options), rules)

    def readers(self) -> Recipe:
        sites = self.levels.sites(self.given["with_connector"])
        context = self.given["connector_output_channel"]
        build = partial(Readers, sites, self.given["num_heads"], context, mode=self.mode, spatial=not self.vector)
        return Recipe(build, names.reader_rules(self.name, sites))

    def frames(self, state: State) -> dict[str, Recipe]:
        """The temporal layers of the UNet, and those of its environment encoder."""
        middle = dict.fromkeys(("middle_0", "middle_2"), self.levels.widths[-1])
        found = {"video_frames": self._layers(self.levels.sites([True] * len(self.levels.widths)) | middle, state)}
        if self.given.get("connector_output_channel"):
            seen = {site: width for site, width in self.environment_steps.items() if width is not None}
            found["video_environment_frames"] = self._layers(seen, state)
        return found

    def _layers(self, sites: Mapping[str, int], state: State) -> Recipe:
        """Inner widths and heads are read off the weights; where these are missing, they are the release's."""
        prefixes = {site: f"unet_{self.name}.{names.frames_prefix(site)}" for site in sites}
        shapes: dict[str, Sequence[int]] = {}
        for site, channels in sites.items():
            query, wide = (
                state.get(prefixes[site] + key) for key in ("temporal_attn.to_q.weight", "ff.proj_in.0.weight")
            )
            inner = 2 * channels if query is None else query.shape[0]
            shapes[site] = (channels, inner, int(channels * 8 / 3) if wide is None else wide.shape[0] // 2)
        bias = state.get(f"{next(iter(prefixes.values()))}temporal_rel_pos_bias.net.2.weight")
        build: partial[nn.Module] = partial(FrameLayers, shapes, 8 if bias is None else bias.shape[0])
        return Recipe(build, names.frame_rules(self.name, sites))
