"""Stage `bundle`: the finished stages of the runs folder -> a bundle in `checkpoints/`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from omegaconf import DictConfig
from torch import nn
from tqdm.auto import tqdm

from codi.backbones.codi_mini import save_bundle, schedulers
from codi.bridge import Bridge
from codi.environment import EnvironmentEncoder
from codi.modalities.audio.prompt import AudioPromptEncoder
from codi.modalities.audio.vocoder import Vocoder
from codi.modalities.image.prompt import ImagePromptEncoder
from codi.modalities.text.autoencoder import TextAutoencoder
from codi.modalities.text.prompt import TextPromptEncoder
from codi.modalities.video.prompt import VideoPromptEncoder
from codi.networks.patch_autoencoder import PatchAutoencoder
from codi.training.bridges import BASES
from codi.training.critic import critic_weights
from codi.training.facts import sentence_encoder
from codi.training.loop import runs_folder
from codi.types import InputError

_PARTS: dict[str, tuple[str, type[Any]]] = {
    "text_prompt_encoder": ("prompt_text/final", TextPromptEncoder),
    "image_prompt_encoder": ("prompt_image/final", ImagePromptEncoder),
    "audio_prompt_encoder": ("prompt_audio/final", AudioPromptEncoder),
    "video_prompt_encoder": ("prompt_video/final", VideoPromptEncoder),
    "text_autoencoder": ("autoencoder_text/final", TextAutoencoder),
    "image_autoencoder": ("autoencoder_image/final", PatchAutoencoder),
    "audio_autoencoder": ("autoencoder_audio/final", PatchAutoencoder),
    "audio_vocoder": ("vocoder/final", Vocoder),
    "video_painter": ("painter_video/final", UNet2DConditionModel),
    **BASES,
}
"""By component, its folder below the runs folder and its class."""


def build(settings: DictConfig) -> None:
    """Assemble the bundle at `settings.folder`; parts whose stages are not finished are left out and named."""
    runs = runs_folder()
    tokenizer, encoder = sentence_encoder()
    components: dict[str, Any] = {"tokenizer": tokenizer, "text_encoder": encoder} | schedulers()
    for name, (stage, kind) in _PARTS.items():
        folder = runs / stage
        if folder.exists():
            components[name] = kind.from_pretrained(folder)
        else:
            tqdm.write(f"left out: {name} (stage {stage.split('/')[0]} is not finished)")
    components |= _coupling(runs / "bridges" / "final")
    save_bundle(components, Path(settings.folder))


def restore(settings: DictConfig) -> None:
    """Put the bundle's weights where the stages leave theirs, so that training goes on where the runs folder was lost.

    What the runs folder has is kept. Weights come back in half precision, optimisers not at all. No bundle has critics:
    they come from `settings.critics`.
    """
    bundle, runs = Path(settings.folder), runs_folder()
    coupled = {path.name: (f"bridges/final/{path.name}", kind) for path, kind in _coupling_folders(bundle)}
    for name, (place, kind) in (_PARTS | coupled).items():
        if (bundle / name).exists() and not (runs / place).exists():
            kind.from_pretrained(bundle / name).float().save_pretrained(runs / place)
            tqdm.write(f"restored: {runs / place}")
    for weights in sorted(Path(settings.critics).glob("*.safetensors")):
        critic = critic_weights(weights.stem)
        if not critic.exists():
            critic.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(weights, critic)
            tqdm.write(f"restored: {critic}")


def blend(settings: DictConfig) -> None:
    """The mean of several bundles' bridges, as the finished stage `bridges` (model soups, Wortsman et al. 2022).

    They must have begun from the same weights: means of others are of no use.

    Raises:
        InputError: fewer than two bundles, or not of the same parts.
    """
    several = [_coupling(Path(bundle)) for bundle in settings.bundles]
    if len(several) < 2 or any(set(one) != set(several[0]) for one in several):
        raise InputError(
            "bundles", "are fewer than two, or differ in parts", "name bundles trained on from the same one"
        )
    for name, module in several[0].items():
        states = [one[name].float().state_dict() for one in several]
        module.load_state_dict({key: torch.stack([state[key] for state in states]).mean(0) for key in states[0]})
        module.save_pretrained(runs_folder() / "bridges" / "final" / name)  # type: ignore[operator]


def _coupling_folders(folder: Path) -> list[tuple[Path, type[Any]]]:
    kinds = {"bridge": Bridge, "environment_encoder": EnvironmentEncoder}
    found = [(path, path.name.partition("_")[2]) for path in sorted(folder.glob("*_*"))]
    return [(path, kinds[kind]) for path, kind in found if kind in kinds]


def _coupling(folder: Path) -> dict[str, nn.Module]:
    return {path.name: kind.from_pretrained(path) for path, kind in _coupling_folders(folder)}
