"""The release's files at a small width, random, with the quirks of the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codi.backbones.codi_v1.build import PARTS, recipes
from codi.backbones.codi_v1.names import official
from codi.backbones.codi_v1.release import FILES, PREFIXES

UNET = {
    "model_channels": 64,
    "num_noattn_blocks": [1, 1],
    "channel_mult": [1, 1],
    "with_attn": [True, False],
    "channel_mult_connector": [1, 1],
    "num_noattn_blocks_connector": [1, 1],
    "with_connector": [True, False],
    "connector_output_channel": 32,
    "num_heads": 4,
}
LETTERS = [chr(code) for code in range(33, 127)]
CONFIG: dict[str, Any] = {
    "context_dim": 16,
    "unet_image": {**UNET, "input_channels": 4, "use_video_architecture": True},
    "unet_text": {**UNET, "input_channels": 32, "second_dim": [4, 4], "second_dim_connector": [4, 4]},
    "unet_audio": {**UNET, "input_channels": 8},
    "kl": {
        "embed_dim": 4,
        "ddconfig": {"in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1},
    },
    "audioldm": {
        "embed_dim": 8,
        "ddconfig": {"in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1, 1, 1], "num_res_blocks": 1},
        "hifigan": {"upsample_initial_channel": 64},
    },
    "clip": {
        "projection_dim": 16,
        "text": {
            "vocab_size": 400,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 77,
        },
        "vision": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
    },
    "clap": {"amodel": "HTSAT-tiny", "width": 16, "joint_embed_shape": 16},
    "optimus": {
        "hidden": 32,
        "heads": 2,
        "layers": 1,
        "inter": 32,
        "latent": 32,
        "bert_vocab": 400,
        "gpt_vocab": 260,
    },
}


def states(config: dict[str, Any] = CONFIG, seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """Random state dicts of every part under the release's names, lively enough for prompts and partners to matter."""
    torch.manual_seed(seed)
    return {part: part_state(part, config) for part in PARTS}


def part_state(part: str, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    made: dict[str, torch.Tensor] = {}
    options = {"one_token": False, "mode": "partner"} if part == "unet" else {}
    for recipe in recipes(part, config, {}, **options).values():
        module = recipe.build()
        stir(module)
        for key, tensor in module.state_dict().items():
            name = official(key, recipe.rules)
            if key in recipe.own or not tensor.is_floating_point():
                continue
            if ".attn.qkv." in name:
                made[name] = torch.cat([made[name], tensor]) if name in made else tensor
            elif name.endswith("frame_rate_embeds"):
                made[name] = tensor.expand(1, 30, -1).clone()
            else:
                made[name] = tensor
    return made


def stir(module: nn.Module) -> None:
    """Make small parameters large: at their usual initialisation prompts and partners hardly matter."""
    for name, parameter in module.named_parameters():
        if name.endswith(("attn2.to_v.weight", "attn2.to_k.weight", "attn2.to_q.weight", "to_out.0.weight")):
            nn.init.normal_(parameter, std=0.3)
        elif name.endswith(("conv_out.weight", "positions", "rate")):
            nn.init.normal_(parameter, std=0.1)


def release(folder: Path, config: dict[str, Any] = CONFIG, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """The four published files at this width, with their quirks, their configuration and tokenizers beside them."""
    folder.mkdir(parents=True)
    tensors = {
        PREFIXES[part] + key: tensor.to(dtype)
        for part, state in states(config, seed).items()
        for key, tensor in state.items()
    }
    for file, prefixes in FILES.items():
        held = {key: tensor for key, tensor in tensors.items() if key.startswith(prefixes)}
        torch.save(held | quirks(file, tensors, dtype), folder / file)
    (folder / "config.json").write_text(json.dumps(config))
    tokenizers(folder / "tokenizers")
    return folder


def quirks(file: str, tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """What the published files hold beside the weights: schedule buffers, dead tensors, tables rounded to half."""
    if file != "CoDi_encoders.pth":
        return {"betas": torch.linspace(0, 1, 1000).to(dtype), "alphas_cumprod": torch.linspace(1, 0, 1000).to(dtype)}
    return {
        "clip.model.logit_scale": torch.zeros(()),
        "clip.model.text_model.embeddings.position_ids": torch.arange(77)[None].to(dtype),
        "clap.model.audio_branch.tscam_conv.bias": torch.zeros(4),
        "clap.model.audio_branch.layers.0.blocks.0.attn.relative_position_index": torch.zeros(64, 64).to(dtype),
        "optimus.decoder.lm_head.weight": tensors["optimus.decoder.transformer.wte.weight"],
        "audioldm.fn_STFT.mel_basis": torch.zeros(64, 513),
    }


def tokenizers(folder: Path) -> None:
    """Tokenizers of letters in the layout of the originals."""
    for name, vocabulary in vocabularies().items():
        place = folder / name
        place.mkdir(parents=True)
        if name == "bert-base-cased":
            (place / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
            continue
        (place / "vocab.json").write_text(json.dumps({piece: k for k, piece in enumerate(vocabulary)}))
        (place / "merges.txt").write_text("#version: 0.2\n")


def vocabularies() -> dict[str, list[str]]:
    lower = [letter for letter in LETTERS if not letter.isupper()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *lower, *(f"##{letter}" for letter in lower)]
    filler = [f"<filler{k}>" for k in range(257 - len(LETTERS) - 1)]
    return {
        "clip-vit-large-patch14": [*lower, *(f"{letter}</w>" for letter in lower), "<|startoftext|>", "<|endoftext|>"],
        "bert-base-cased": pieces,
        "gpt2": [*LETTERS, "\u0120", *filler],
    }
