"""`python -m codi.training STAGE [key=value ...]`: run one stage from configs/train/STAGE.yaml, resuming it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

Stage = Callable[[DictConfig], None]
CONFIGS = Path(__file__).parents[2] / "configs" / "train"


def _stage(module: str, function: str) -> Stage:
    """A stage, its module imported when it runs."""

    def run(settings: DictConfig) -> None:
        getattr(import_module(f"codi.training.{module}"), function)(settings)

    return run


STAGES: dict[str, Stage] = {
    "autoencoder_image": _stage("autoencoders", "train_image"),
    "autoencoder_audio": _stage("autoencoders", "train_audio"),
    "autoencoder_text": _stage("text_autoencoder", "train"),
    "prompt_text": _stage("prompts", "train_text"),
    "prompt_image": _stage("media_prompts", "train_image"),
    "prompt_audio": _stage("media_prompts", "train_audio"),
    "prompt_video": _stage("media_prompts", "train_video"),
    "latents_video": _stage("latents", "build_video"),
    "latents_audio": _stage("latents", "build_audio"),
    "latents_detuned": _stage("latents", "build_detuned"),
    "critic_image": _stage("critic", "train_image"),
    "critic_video": _stage("critic", "train_video"),
    "critic_audio": _stage("critic", "train_audio"),
    "denoiser_text": _stage("denoisers", "train_text"),
    "denoiser_image": _stage("denoisers", "train_image"),
    "denoiser_audio": _stage("denoisers", "train_audio"),
    "denoiser_video": _stage("denoisers", "train_video"),
    "vocoder": _stage("vocoder", "train"),
    "bridges": _stage("bridges", "train"),
    "bundle": _stage("bundle", "build"),
    "restore": _stage("bundle", "restore"),
}


def main(arguments: list[str]) -> None:
    """Run the stage named first; the rest overrides its configuration."""
    torch.set_num_threads(1)
    stage, overrides = arguments[0], arguments[1:]
    settings = OmegaConf.merge(OmegaConf.load(CONFIGS / f"{stage}.yaml"), OmegaConf.from_dotlist(overrides))
    assert isinstance(settings, DictConfig)
    STAGES[stage](settings)


if __name__ == "__main__":
    main(sys.argv[1:])
