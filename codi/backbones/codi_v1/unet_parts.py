"""The part `unet` of the release: three UNets, their readers, environment encoders and temporal layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codi.backbones.codi_v1 import names
from codi.backbones.codi_v1.environment import FrameLayers, LatentEnvironment, Readers, VectorEnvironment, stages
from codi.backbones.codi_v1.official import Recipe, State
from codi.backbones.codi_v1.unet import Levels, PictureUNet, TextUNet

Config = Mapping[str, Any]


def recipes(config: Config, state: State, one_token: bool = False, partner: bool = False) -> dict[str, Recipe]:
    found: dict[str, Recipe] = {}
    for name in ("image", "text", "audio"):
        if f"unet_{name}" in config:
            found |= unet_recipes(name, config[f"unet_{name}"], config["context_dim"], state, one_token)
    return found


def unet_recipes(name: str, given: Config, context: int, state: State, one_token: bool) -> dict[str, Recipe]:
    vector = "second_dim" in given
    clips = bool(given.get("use_video_architecture"))
    levels = levels_of(given)
    shared = dict(
        channels=given["input_channels"], width=given["model_channels"], channel_mult=given["channel_mult"],
        blocks=given["num_noattn_blocks"], attention=given["with_attn"], heads=given["num_heads"], context=context, one_token=one_token,
    )
    rules = names.text_rules(name, levels) if vector else names.picture_rules(name, levels, clips)
    build = (lambda: TextUNet(**shared, tokens=given["second_dim"])) if vector else (lambda: PictureUNet(**shared))
    width = given["model_channels"]
    widths = [width * m for m in given["channel_mult_connector"]]
    counts = given["num_noattn_blocks_connector"]
    env = dict(channels=given["input_channels"], width=width // 2, widths=widths, blocks=counts, out_channels=given["connector_output_channel"])
    build_env = (lambda: VectorEnvironment(**env, tokens=given["second_dim_connector"])) if vector else (lambda: LatentEnvironment(**env))
    steps = {f"environment_{k}": "down" if s is None else "block" for k, s in enumerate(stages(widths, counts), 1)}
    sites = levels.sites(given["with_connector"])
    found = {
        f"{name}_denoiser": Recipe(build, rules),
        f"{name}_environment_encoder": Recipe(build_env, names.environment_rules(name, steps, clips, vector)),
        f"{name}_readers": Recipe(
            lambda: Readers(sites, given["num_heads"], given["connector_output_channel"], one_token, not vector),
            names.reader_rules(name, sites)),
    }
    if clips:
        all_sites = levels.sites([True] * len(levels.widths)) | {"middle_0": levels.widths[-1], "middle_2": levels.widths[-1]}
        env_sites = {f"environment_{k}": w for k, w in enumerate(stages(widths, counts), 1) if w}
        for label, s in (("video_frames", all_sites), ("video_environment_frames", env_sites)):
            shapes = {site: frame_shape(c, state, f"unet_{name}.{names.frames_prefix(site)}") for site, c in s.items()}
            heads = heads_of(state, f"unet_{name}.{names.frames_prefix(next(iter(s)))}")
            found[label] = Recipe(lambda shapes=shapes, heads=heads: FrameLayers(shapes, heads), names.frame_rules(name, s))
    return found


def levels_of(given):
    return Levels([given["model_channels"] * m for m in given["channel_mult"]], given["num_noattn_blocks"], given["with_attn"])


def frame_shape(channels, state, prefix):
    q, ff = state.get(f"{prefix}temporal_attn.to_q.weight"), state.get(f"{prefix}ff.proj_in.0.weight")
    return [channels, 2 * channels if q is None else q.shape[0], int(channels * 8 / 3) if ff is None else ff.shape[0] // 2]


def heads_of(state, prefix):
    found = state.get(f"{prefix}temporal_rel_pos_bias.net.2.weight")
    return 8 if found is None else found.shape[0]
