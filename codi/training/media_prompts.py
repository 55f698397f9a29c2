"""How the stages `prompt_image`, `prompt_audio` and `prompt_video` show scenes to their encoders."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from omegaconf import DictConfig
from safetensors.torch import load_file

from codi.modalities.audio.mel import HOP, RATE, mel_picture
from codi.modalities.audio.prompt import AudioPromptEncoder
from codi.modalities.image.prompt import ImagePromptEncoder
from codi.modalities.video.prompt import VideoPromptEncoder
from codi.training.augment import degrade_colours, degrade_pictures, degrade_sounds
from codi.training.loop import runs_folder
from codi.training.prompts import train_medium
from codi.training.sketches import sketch
from codi.worlds.sounding_shapes.factors import FPS, FRAMES
from codi.worlds.sounding_shapes.render import render_image, render_video
from codi.worlds.sounding_shapes.scene import Scene
from codi.worlds.sounding_shapes.sound import render_audio

SKETCHED = 0.35
"""Share of pictures and clips that are not renders."""


def train_image(settings: DictConfig) -> None:
    """Stage `prompt_image`."""
    torch.manual_seed(0)
    model = ImagePromptEncoder()

    def encode(scenes: list[Scene], rng: np.random.Generator) -> torch.Tensor:
        frames = np.stack([_picture(scene, rng) for scene in scenes])
        return model(degrade_pictures(_signed(frames), rng))

    train_medium("image", model, encode, settings)


def train_video(settings: DictConfig) -> None:
    """Stage `prompt_video`, behind the finished image prompt encoder's frozen stem."""
    torch.manual_seed(0)
    model = VideoPromptEncoder()
    image = ImagePromptEncoder.from_pretrained(runs_folder() / "prompt_image" / "final")
    model.stem.load_state_dict(image.stem.state_dict())
    model.stem.requires_grad_(False)
    if settings.get("start"):
        model.load_state_dict(load_file(settings.start), strict=False)
    times = (torch.arange(FRAMES, dtype=torch.float64) + 0.5) / FPS

    def encode(scenes: list[Scene], rng: np.random.Generator) -> torch.Tensor:
        clips = np.stack([_clip(scene, rng) for scene in scenes])
        # Frames side by side, so that a clip is degraded as one.
        wide = rearrange(clips, "b f h w c -> b h (f w) c")
        degraded = degrade_colours(_signed(wide), rng)
        return model(rearrange(degraded, "b c h (f w) -> b c f h w", f=FRAMES), times)

    train_medium("video", model, encode, settings)


def train_audio(settings: DictConfig) -> None:
    """Stage `prompt_audio`."""
    torch.manual_seed(0)
    model = AudioPromptEncoder()

    def encode(scenes: list[Scene], rng: np.random.Generator) -> torch.Tensor:
        sounds = torch.from_numpy(np.stack([render_audio(scene) for scene in scenes]))
        mel = mel_picture(degrade_sounds(sounds, rng))
        return model(mel, (torch.arange(mel.shape[-1], dtype=torch.float64) + 0.5) * HOP / RATE)

    train_medium("audio", model, encode, settings)


def _picture(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    frame = int(rng.integers(FRAMES))
    return sketch(scene, np.array([frame]), rng)[0] if rng.random() < SKETCHED else render_image(scene, frame)


def _clip(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    return sketch(scene, np.arange(FRAMES), rng) if rng.random() < SKETCHED else render_video(scene)


def _signed(frames: np.ndarray) -> torch.Tensor:
    """uint8 [batch, h, w, 3] -> [batch, 3, h, w] in [-1, 1]."""
    return rearrange(torch.from_numpy(frames), "b h w c -> b c h w").float() / 127.5 - 1
