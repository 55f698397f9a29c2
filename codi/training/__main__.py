"""`python -m codi.training STAGE [key=value ...]`: run one stage from configs/train/STAGE.yaml, resuming it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from codi.training.loop import FitConfig
from codi.types import InputError

Stage = Callable[[DictConfig], None]
CONFIGS = Path(__file__).parents[2] / "configs" / "train"


def _stage(module: str, function: str) -> Stage:
    """A stage, its module imported when it runs."""

    def run(settings: DictConfig) -> None:
        getattr(import_module(f"codi.training.{module}"), function)(settings)

    return run


STAGES: dict[str, Stage] = {
    "autoencoder_image": _stage("autoencoders", "train_image"),
    "decoder_image": _stage("decoders", "train_image"),
    "autoencoder_audio": _stage("autoencoders", "train_audio"),
    "autoencoder_text": _stage("text_autoencoder", "train"),
    "prompt_text": _stage("prompts", "train_text"),
    "prompt_image": _stage("media_prompts", "train_image"),
    "prompt_audio": _stage("media_prompts", "train_audio"),
    "prompt_video": _stage("media_prompts", "train_video"),
    "latents_video": _stage("latents", "build_video"),
    "latents_tinted": _stage("latents", "build_tinted"),
    "latents_audio": _stage("latents", "build_audio"),
    "latents_detuned": _stage("latents", "build_detuned"),
    "critic_text": _stage("critic", "train_text"),
    "critic_image": _stage("critic", "train_image"),
    "critic_video": _stage("critic", "train_video"),
    "critic_audio": _stage("critic", "train_audio"),
    "denoiser_text": _stage("denoisers", "train_text"),
    "denoiser_image": _stage("denoisers", "train_image"),
    "denoiser_audio": _stage("denoisers", "train_audio"),
    "denoiser_video": _stage("denoisers", "train_video"),
    "painter_video": _stage("painters", "train_video"),
    "vocoder": _stage("vocoder", "train"),
    "bridges": _stage("bridges", "train"),
    "blend": _stage("bundle", "blend"),
    "bundle": _stage("bundle", "build"),
    "restore": _stage("bundle", "restore"),
}


def main(arguments: list[str]) -> int:
    """Run the stage named first; the rest overrides its configuration. Exits with 2 on bad input."""
    torch.set_num_threads(1)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(f"{__doc__}\n\nStages: {', '.join(STAGES)}.\n")
        return 0
    try:
        stage, settings = configured(arguments[0], arguments[1:])
        stage(settings)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def configured(name: str, overrides: Sequence[str]) -> tuple[Stage, DictConfig]:
    """A stage and its settings: those of its file, `overrides` (key=value) in their places.

    Raises:
        InputError: a stage that there is not; an override that its file does not name.
    """
    if name not in STAGES:
        raise InputError(name, "is not a stage", f"choose among {', '.join(STAGES)}")
    settings = OmegaConf.load(CONFIGS / f"{name}.yaml")
    assert isinstance(settings, DictConfig)
    known = OmegaConf.create({"fit": asdict(FitConfig())} if "fit" in settings else {})
    for override in overrides:
        key = override.partition("=")[0]
        if "=" not in override or not (_names(settings, key) or _names(known, key)):
            choice = ", ".join(str(key) for key in settings)
            raise InputError(f"{name} {override}", "is not one of its settings", f"give key=value, key one of {choice}")
    return STAGES[name], OmegaConf.merge(settings, OmegaConf.from_dotlist(list(overrides)))  # type: ignore[return-value]


def _names(settings: DictConfig, key: str) -> bool:
    """Whether settings hold a key, whose parts are joined by dots."""
    here: Any = settings
    for part in key.split("."):
        if not isinstance(here, DictConfig) or part not in here:
            return False
        here = here[part]
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
