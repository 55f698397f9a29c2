"""Stage `bundle`: the finished stages of the runs folder -> a bundle in `checkpoints/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from codi.backbones.codi_mini import save_bundle, schedulers
from codi.bridge import Bridge, EnvironmentEncoder
from codi.modalities.audio.prompt import AudioPromptEncoder
from codi.modalities.audio.vocoder import Vocoder
from codi.modalities.image.prompt import ImagePromptEncoder
from codi.modalities.text.autoencoder import TextAutoencoder
from codi.modalities.text.prompt import TextPromptEncoder
from codi.modalities.video.prompt import VideoPromptEncoder
from codi.networks.patch_autoencoder import PatchAutoencoder
from codi.training.bridges import frozen_bases
from codi.training.facts import sentence_encoder
from codi.training.loop import runs_folder

_STAGES: dict[str, tuple[str, type[Any]]] = {
    "text_prompt_encoder": ("prompt_text", TextPromptEncoder),
    "image_prompt_encoder": ("prompt_image", ImagePromptEncoder),
    "audio_prompt_encoder": ("prompt_audio", AudioPromptEncoder),
    "video_prompt_encoder": ("prompt_video", VideoPromptEncoder),
    "text_autoencoder": ("autoencoder_text", TextAutoencoder),
    "image_autoencoder": ("autoencoder_image", PatchAutoencoder),
    "audio_autoencoder": ("autoencoder_audio", PatchAutoencoder),
    "audio_vocoder": ("vocoder", Vocoder),
}


def build(settings: DictConfig) -> None:
    """Assemble the bundle at `settings.folder`; bridges that are not trained yet are left out.

    Raises:
        OSError: a stage that is not finished.
    """
    runs = runs_folder()
    components: dict[str, Any] = {
        name: kind.from_pretrained(runs / stage / "final") for name, (stage, kind) in _STAGES.items()
    }
    tokenizer, encoder = sentence_encoder()
    components |= {"tokenizer": tokenizer, "text_encoder": encoder}
    components |= frozen_bases() | _coupling(runs / "bridges" / "final") | schedulers()
    save_bundle(components, Path(settings.folder))


def _coupling(folder: Path) -> dict[str, nn.Module]:
    kinds = {"bridge": Bridge, "environment_encoder": EnvironmentEncoder}
    return {path.name: kinds[path.name.split("_", 1)[1]].from_pretrained(path) for path in sorted(folder.glob("*_*"))}
