"""The parts of the release that library classes carry: `kl`, `audioldm`, `clip`, `clap`, `optimus`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diffusers import AutoencoderKL
from transformers import (
    ClapAudioConfig,
    ClapAudioModelWithProjection,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

from codi.backbones.codi_v1.encoders import ClipFrames, OptimusDecoder, OptimusEncoder
from codi.backbones.codi_v1.names import FRAMES, Rule
from codi.backbones.codi_v1.official import Recipe, State

Config = Mapping[str, Any]


def side(state: State, key: str, dim: int, default: int) -> int:
    """A tensor's side, or what it is at full size where the tensor is missing."""
    return state[key].shape[dim] if key in state else default


def kl(config: Config, state: State) -> dict[str, Recipe]:
    """The autoencoder of pictures."""
    return {"picture_autoencoder": autoencoder(config["kl"], 0.18215)}


def audioldm(config: Config, state: State) -> dict[str, Recipe]:
    """The autoencoder of mel pictures and its vocoder."""
    given = config["audioldm"]
    return {"mel_autoencoder": autoencoder(given, 0.9228), "audio_vocoder": vocoder(given.get("hifigan", {}), state)}


def autoencoder(given: Config, scale: float) -> Recipe:
    """A VAE of latent diffusion."""
    shape = given["ddconfig"]
    levels, layers = len(shape["ch_mult"]), shape["num_res_blocks"]
    attended = shape.get("attn_resolutions") or []
    kinds = ["Attn" if shape.get("resolution", 256) // 2**level in attended else "" for level in range(levels)]

    def build() -> AutoencoderKL:
        return AutoencoderKL(
            in_channels=shape["in_channels"],
            out_channels=shape["out_ch"],
            down_block_types=tuple(f"{kind}DownEncoderBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpDecoderBlock2D" for kind in reversed(kinds)),
            block_out_channels=tuple(shape["ch"] * mult for mult in shape["ch_mult"]),
            layers_per_block=layers,
            latent_channels=given["embed_dim"],
            scaling_factor=scale,
        )

    return Recipe(build, _autoencoder_rules(levels, layers))


_VAE_BLOCK = {"conv_shortcut": "nin_shortcut"}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _autoencoder_rules(levels: int, layers: int) -> list[Rule]:
    rules = [Rule("", "")]
    for half in ("encoder", "decoder"):
        rules += [
            Rule(f"{half}.conv_norm_out.", f"{half}.norm_out."),
            Rule(f"{half}.mid_block.resnets.0.", f"{half}.mid.block_1.", _VAE_BLOCK),
            Rule(f"{half}.mid_block.attentions.0.", f"{half}.mid.attn_1.", _VAE_ATTENTION),
            Rule(f"{half}.mid_block.resnets.1.", f"{half}.mid.block_2.", _VAE_BLOCK),
        ]
    for level in range(levels):
        down, up = f"encoder.down_blocks.{level}.", f"decoder.up_blocks.{level}."
        mirrored = f"decoder.up.{levels - 1 - level}."
        rules.append(Rule(f"{down}downsamplers.0.", f"encoder.down.{level}.downsample."))
        rules.append(Rule(f"{up}upsamplers.0.", f"{mirrored}upsample."))
        for block in range(layers + 1):
            rules.append(Rule(f"{down}resnets.{block}.", f"encoder.down.{level}.block.{block}.", _VAE_BLOCK))
            rules.append(Rule(f"{up}resnets.{block}.", f"{mirrored}block.{block}.", _VAE_BLOCK))
            rules.append(Rule(f"{down}attentions.{block}.", f"encoder.down.{level}.attn.{block}.", _VAE_ATTENTION))
            rules.append(Rule(f"{up}attentions.{block}.", f"{mirrored}attn.{block}.", _VAE_ATTENTION))
    return rules


def vocoder(given: Config, state: State) -> Recipe:
    """HiFi-GAN; kernels are read off the weights, the rates are AudioLDM's."""
    rates: Sequence[int] = given.get("upsample_rates", (5, 4, 2, 2, 2))
    kernels = given.get("resblock_kernel_sizes", (3, 7, 11))
    full = (16, 16, 8, 4, 4)

    def build() -> SpeechT5HifiGan:
        return SpeechT5HifiGan(
            SpeechT5HifiGanConfig(
                model_in_dim=side(state, "vocoder.conv_pre.weight", 1, 64),
                sampling_rate=16_000,
                upsample_initial_channel=given.get("upsample_initial_channel", 1024),
                upsample_rates=list(rates),
                upsample_kernel_sizes=[side(state, f"vocoder.ups.{k}.weight", 2, full[k]) for k in range(len(rates))],
                resblock_kernel_sizes=list(kernels),
                resblock_dilation_sizes=[
                    list(d) for d in given.get("resblock_dilation_sizes", [[1, 3, 5]] * len(kernels))
                ],
                normalize_before=False,
            )
        )

    # The mean and the scale of a normalisation that AudioLDM's vocoder does not have.
    own = frozenset({"mean", "scale"})
    return Recipe(build, [Rule("", "vocoder."), Rule("upsampler.", "vocoder.ups.")], own)


_POOL_AT_LARGEST = {"eos_token_id": 2, "bos_token_id": None, "pad_token_id": None}
"""transformers pools at the largest id of a sentence, CLIP's end token, where the configured end id is 2."""


def clip(config: Config, state: State) -> dict[str, Recipe]:
    """CLIP's two towers, and what makes the second one read clips."""
    given = config["clip"]
    text, vision = ({**given[name], "projection_dim": given["projection_dim"]} for name in ("text", "vision"))
    layer = "vision_model.encoder.layers.0.temporal_self_attn."
    width = vision["hidden_size"]
    layers = range(vision["num_hidden_layers"])
    rules = [Rule(f"layers.{k}.", f"vision_model.encoder.layers.{k}.temporal_self_attn.", FRAMES) for k in layers]
    return {
        "clip_text": Recipe(
            lambda: CLIPTextModelWithProjection(CLIPTextConfig(**{**text, **_POOL_AT_LARGEST})), [Rule("", "")]
        ),
        "clip_vision": Recipe(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**vision)), [Rule("", "")]),
        "clip_frames": Recipe(
            lambda: ClipFrames(
                depth=len(layers),
                channels=width,
                inner=side(state, f"{layer}temporal_attn.to_q.weight", 0, width),
                heads=side(state, f"{layer}temporal_rel_pos_bias.net.2.weight", 0, vision["num_attention_heads"]),
                hidden=side(state, f"{layer}ff.proj_in.0.weight", 0, 2 * int(width * 8 / 3)) // 2,
            ),
            rules,
        ),
    }


def clap(config: Config, state: State) -> dict[str, Recipe]:
    """LAION-CLAP's audio tower, HTSAT; its widths and depths are read off the weights."""
    shape = clap_config(config["clap"], state)
    return {"clap": Recipe(lambda: ClapAudioModelWithProjection(shape), list(_clap_rules(shape.depths)))}


_HTSAT = {"HTSAT-tiny": (96, (2, 2, 6, 2)), "HTSAT-base": (128, (2, 2, 12, 2)), "HTSAT-large": (256, (2, 2, 12, 2))}


def clap_config(given: Config, state: State) -> ClapAudioConfig:
    """HTSAT's configuration."""
    width, full = _HTSAT.get(given.get("amodel", ""), _HTSAT["HTSAT-large"])
    branch = "model.audio_branch."
    depths = [_blocks(state, f"{branch}layers.{k}.blocks.") or depth for k, depth in enumerate(full)]
    width = side(state, f"{branch}patch_embed.proj.weight", 0, given.get("width", width))
    return ClapAudioConfig(
        hidden_size=width * 2 ** (len(depths) - 1),
        patch_embeds_hidden_size=width,
        depths=depths,
        num_attention_heads=[
            side(state, f"{branch}layers.{k}.blocks.0.attn.relative_position_bias_table", 1, 4 * 2**k)
            for k in range(len(depths))
        ],
        projection_dim=given["joint_embed_shape"],
        projection_hidden_act="relu",
        enable_fusion=False,
    )


def _blocks(state: State, prefix: str) -> int:
    """How many blocks stand below a prefix."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


_CLAP_BLOCK = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.self.relative_position_bias_table": "attn.relative_position_bias_table",
    "attention.self.relative_position_index": "attn.relative_position_index",
    "attention.self.query": "attn.qkv",
    "attention.self.key": "attn.qkv",
    "attention.self.value": "attn.qkv",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def _clap_rules(depths: Sequence[int]) -> Iterator[Rule]:
    ours, theirs = "audio_model.audio_encoder.", "model.audio_branch."
    yield Rule(ours, theirs, {"batch_norm": "bn0"})
    yield Rule("audio_projection.", "model.audio_projection.", {"linear1": "0", "linear2": "2"})
    for level, depth in enumerate(depths):
        for block in range(depth):
            place = f"layers.{level}.blocks.{block}."
            yield Rule(ours + place, theirs + place, _CLAP_BLOCK)


def optimus(config: Config, state: State) -> dict[str, Recipe]:
    """The autoencoder of text."""
    given = config["optimus"]
    shared = {"hidden": given["hidden"], "heads": given["heads"], "layers": given["layers"], "latent": given["latent"]}
    words, places = "encoder.embeddings.position_embeddings.weight", "decoder.transformer.wpe.weight"
    return {
        "optimus_encoder": Recipe(
            lambda: OptimusEncoder(
                vocabulary=given["bert_vocab"], inner=given["inter"], positions=side(state, words, 0, 512), **shared
            ),
            [Rule("bert.", "encoder."), Rule("linear.", "encoder.linear.")],
        ),
        "optimus_decoder": Recipe(
            lambda: OptimusDecoder(
                vocabulary=given["gpt_vocab"],
                inner=side(state, "decoder.transformer.h.0.mlp.c_fc.weight", 1, 4 * given["hidden"]),
                positions=side(state, places, 0, 1024),
                **shared,
            ),
            [
                Rule("gpt2.", "decoder.transformer."),
                Rule("memory.", "decoder.transformer.linear."),
                Rule("embedded.", "decoder.transformer.linear_emb."),
            ],
        ),
    }
