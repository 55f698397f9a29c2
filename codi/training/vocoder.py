"""Stage `vocoder`: mel pictures -> waveforms, by multi-resolution spectral losses (Yamamoto et al. 2020)."""

from __future__ import annotations

import numpy as np
import torch
from omegaconf import DictConfig

from codi.modalities.audio.mel import mel_picture
from codi.modalities.audio.vocoder import Vocoder
from codi.training.loop import FitConfig, Losses, fit
from codi.worlds.sounding_shapes.scene import sample_scene
from codi.worlds.sounding_shapes.sound import render_audio
from codi.worlds.sounding_shapes.textures import random_sound

RESOLUTIONS = ((2048, 500), (1024, 250), (512, 125), (256, 64))
SECONDS = 1.0


def draw_sounds(rng: np.random.Generator, batch: int) -> torch.Tensor:
    """[batch, 16000] samples, one second of each: three in four of scenes, one in four outside the world."""
    sounds = [random_sound(rng) if rng.random() < 0.25 else render_audio(sample_scene(rng)) for _ in range(batch)]
    starts = rng.integers(0, 129, batch) * 125
    cut = np.stack([sound[start : start + 16_000] for sound, start in zip(sounds, starts, strict=True)])
    return torch.from_numpy(cut * 10 ** (rng.uniform(-12, 3, (batch, 1)) / 20)).float().clamp(-1, 1)


def spectral_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Spectral convergence + L1 of log magnitudes, averaged over resolutions."""
    total = made.new_zeros(())
    for n_fft, hop in RESOLUTIONS:
        window = torch.hann_window(n_fft)
        ours, theirs = (torch.stft(x, n_fft, hop, window=window, return_complex=True).abs() for x in (made, true))
        convergence = (theirs - ours).norm() / theirs.norm().clamp_min(1e-3)
        log = ((ours + 1e-3).log() - (theirs + 1e-3).log()).abs().mean()
        total = total + convergence + log
    return total / len(RESOLUTIONS)


def train(settings: DictConfig) -> None:
    """Run the stage."""
    torch.manual_seed(0)
    model = Vocoder()

    def losses(sounds: torch.Tensor) -> Losses:
        mel = mel_picture(sounds)
        made = model(mel + 0.02 * torch.randn_like(mel))
        spectral, heard = spectral_loss(made, sounds), (mel_picture(made) - mel).abs().mean()
        return {"loss": spectral + 2 * heard, "spectral": spectral, "mel": heard}

    def validate() -> dict[str, float]:
        torch.manual_seed(2)
        with torch.no_grad():
            return {key: float(value) for key, value in losses(draw_sounds(np.random.default_rng(2), 64)).items()}

    folder = fit(
        "vocoder", model, lambda rng, batch: losses(draw_sounds(rng, batch)), FitConfig(**settings.fit), validate
    )
    model.save_pretrained(folder / "final")
