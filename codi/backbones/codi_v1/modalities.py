"""Which components of a codi-v1 bundle each modality needs. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module

from codi.modality import Engine, Modality

_PLACE = "codi.backbones.codi_v1"
CLASSES = {
    "CoDiV1Pipeline": f"{_PLACE}.pipeline",
    "CoDiScheduler": f"{_PLACE}.scheduler",
    "PictureUNet": f"{_PLACE}.unet",
    "TextUNet": f"{_PLACE}.unet",
    "LatentEnvironment": f"{_PLACE}.environment",
    "VectorEnvironment": f"{_PLACE}.environment",
    "Readers": f"{_PLACE}.environment",
    "FrameLayers": f"{_PLACE}.environment",
    "ClipFrames": f"{_PLACE}.encoders",
    "OptimusEncoder": f"{_PLACE}.encoders",
    "OptimusDecoder": f"{_PLACE}.encoders",
}
"""By name, the module of every class that codi itself defines for a bundle."""


def _engine(name: str) -> type[Engine]:
    found: type[Engine] = getattr(import_module(f"{_PLACE}.engines"), name)
    return found


@cache
def modalities() -> Mapping[str, Modality]:
    """The modalities by name, in the order of their names."""
    audio = Modality(
        name="audio",
        classes=CLASSES,
        prompts=("clap",),
        stands=("mel_autoencoder", "audio_denoiser", "audio_environment"),
        generates=("mel_autoencoder", "audio_vocoder", "audio_denoiser", "audio_scheduler"),
        joins=("audio_environment", "audio_readers"),
        engine=partial(_engine, "AudioEngine"),
    )
    image = Modality(
        name="image",
        classes=CLASSES,
        prompts=("clip_vision",),
        stands=("picture_autoencoder", "image_denoiser", "image_environment"),
        generates=("picture_autoencoder", "image_denoiser", "image_scheduler"),
        joins=("image_environment", "image_readers"),
        engine=partial(_engine, "ImageEngine"),
    )
    text = Modality(
        name="text",
        classes=CLASSES,
        prompts=("clip_tokenizer", "clip_text"),
        stands=("bert_tokenizer", "optimus_encoder", "text_denoiser", "text_environment"),
        generates=("gpt2_tokenizer", "optimus_decoder", "text_denoiser", "text_scheduler"),
        joins=("text_environment", "text_readers"),
        engine=partial(_engine, "TextEngine"),
    )
    video = Modality(
        name="video",
        classes=CLASSES,
        prompts=("clip_vision", "clip_frames"),
        stands=("picture_autoencoder", "image_denoiser", "image_environment", "video_environment_frames"),
        generates=("picture_autoencoder", "image_denoiser", "video_frames", "video_scheduler"),
        joins=("image_environment", "image_readers", "video_environment_frames"),
        engine=partial(_engine, "VideoEngine"),
    )
    return {modality.name: modality for modality in (audio, image, text, video)}
