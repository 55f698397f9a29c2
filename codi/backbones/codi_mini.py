"""Components -> a pipeline -> a bundle folder; the debug bundle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from torch import nn
from transformers import BertConfig, BertModel, BertTokenizerFast

from codi.bridge import Bridge
from codi.environment import EnvironmentEncoder
from codi.manifest import write_manifest
from codi.modalities.audio import denoiser as audio
from codi.modalities.audio.prompt import AudioPromptEncoder
from codi.modalities.audio.vocoder import Vocoder
from codi.modalities.image import denoiser as image
from codi.modalities.image.prompt import ImagePromptEncoder
from codi.modalities.text import denoiser as text
from codi.modalities.text.autoencoder import END, START, TextAutoencoder
from codi.modalities.text.prompt import TextPromptEncoder
from codi.modalities.video import denoiser as video
from codi.modalities.video.prompt import VideoPromptEncoder
from codi.networks.clip_transformer import ClipTransformer
from codi.networks.patch_autoencoder import PatchAutoencoder
from codi.networks.unet_denoiser import bridge_sites
from codi.pipeline import CoDiPipeline

CARD = "README.md"
"""The model card: written by hand, kept when the bundle is built anew."""

SHIFTS = {"text": 0.2, "image": 12.0, "audio": 3.0, "video": 12.0}
"""Shift of each modality's sampler: how far its steps crowd towards the noise, where its structure is decided.

The less, the earlier it is settled: a text speaks first, then the sound, what is seen follows (docs/choices.md)."""


def schedulers() -> dict[str, Any]:
    """codi-mini's samplers: rectified flow, shifted per modality."""
    return {f"{name}_scheduler": FlowMatchEulerDiscreteScheduler(shift=shift) for name, shift in SHIFTS.items()}


def coupling(
    image_unet: UNet2DConditionModel,
    audio_unet: UNet2DConditionModel,
    transformer: text.TextTransformer,
    clip_transformer: ClipTransformer,
) -> dict[str, nn.Module]:
    """Untrained environment encoders and bridges for codi-mini's denoisers; they start at zero and change nothing."""
    cell, sound = _tapped(image_unet), 4 * _tapped(audio_unet)
    clip, clip_cell = video.feature_channels(clip_transformer), clip_transformer.config.channels
    words = transformer.config.width + transformer.config.channels
    return {
        "image_environment_encoder": EnvironmentEncoder(16 * cell, image.SLOTS, cell_channels=cell),
        "video_environment_encoder": EnvironmentEncoder(clip, video.SLOTS, cell_channels=clip_cell),
        "audio_environment_encoder": EnvironmentEncoder(sound, audio.SLOTS),
        "text_environment_encoder": EnvironmentEncoder(words, text.LATENT_TOKENS),
        "image_bridge": Bridge(bridge_sites(image_unet)),
        "video_bridge": Bridge(clip_transformer.bridge_sites),
        "audio_bridge": Bridge(bridge_sites(audio_unet)),
        "text_bridge": Bridge(text.bridge_sites(transformer)),
    }


def _tapped(unet: UNet2DConditionModel) -> int:
    """Channels of the last decoder block and the latent beside it."""
    return int(unet.config.block_out_channels[0] + unet.config.in_channels)


def save_bundle(components: Mapping[str, Any], folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a bundle beside its place, then swap it in.

    Args:
        components: by name; what is missing is left out.
        folder: where the bundle will stand.
        dtype: of the weights on disk.
    """
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    modules = {n: c.to(dtype) if isinstance(c, nn.Module) else c for n, c in components.items()}
    CoDiPipeline(**modules).save_pretrained(fresh, safe_serialization=True)
    if (folder / CARD).exists():
        shutil.copy(folder / CARD, fresh / CARD)
    write_manifest(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def debug_bundle(folder: Path, seed: int = 0) -> Path:
    """A bundle of random weights with everything a real one has, built in seconds, for tests.

    Its bridges are not zero: every output reads every other.
    """
    torch.manual_seed(seed)
    widths = (16, 32)
    image_unet, audio_unet = image.image_unet(widths=widths), audio.audio_unet(widths=widths)
    transformer, clip_transformer = (
        text.TextTransformer(width=32, layers=2),
        ClipTransformer(width=32, layers=3, heads=2),
    )
    coupled = coupling(image_unet, audio_unet, transformer, clip_transformer)
    prompted = TextPromptEncoder(layers=1)
    _stir(image_unet, audio_unet, transformer, clip_transformer, prompted, *coupled.values())
    components = {
        **_debug_text(),
        "text_prompt_encoder": prompted,
        "text_denoiser": transformer,
        "image_prompt_encoder": ImagePromptEncoder(widths=(3, 8, 8, 8, 8)),
        "image_autoencoder": PatchAutoencoder(widths=(16, 16)),
        "image_denoiser": image_unet,
        "audio_prompt_encoder": AudioPromptEncoder(widths=(1, 8, 8, 8, 8)),
        "audio_autoencoder": PatchAutoencoder(channels=1, patch=(8, 4), widths=(16, 16), latent_channels=16),
        "audio_vocoder": Vocoder(width=16, depth=1),
        "audio_denoiser": audio_unet,
        "video_prompt_encoder": VideoPromptEncoder(widths=(3, 8, 8, 8, 8)),
        "video_denoiser": clip_transformer,
        "video_painter": image_unet,
        **coupled,
        **schedulers(),
    }
    save_bundle(components, folder, torch.float32)
    return folder


STIRRED = ("attn2.to_v.weight", "to_out.weight", "to_add.weight", "dense.2.weight", "out_proj.weight", "leave.weight")
"""Ends of the names of weights that the debug bundle draws wide, so that prompts and partners show."""


def _stir(*models: nn.Module) -> None:
    """Make prompts and partners matter to random weights: at their usual initialisation they hardly do."""
    for model in models:
        for name, parameter in model.named_parameters():
            if name.endswith(STIRRED):
                nn.init.normal_(parameter, std=0.3)


def _debug_text() -> dict[str, Any]:
    """A sentence encoder of one layer over a vocabulary of letters, and what stands on it."""
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    pieces = ["[PAD]", *(f"[unused{k}]" for k in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {piece: k for k, piece in enumerate(pieces + letters + [f"##{letter}" for letter in letters])}
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=384, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64
    )
    spoken = (START, END, *(vocabulary[f"##{letter}"] for letter in "abcdefghijklmnop"))
    return {
        "tokenizer": BertTokenizerFast(vocab=vocabulary),
        "text_encoder": BertModel(config),
        "text_autoencoder": TextAutoencoder(vocabulary=spoken, layers=1),
    }
