"""Audio on the tensor side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torchaudio

from codi.media import Audio
from codi.modalities.audio.denoiser import AudioDenoiser
from codi.modalities.audio.mel import HOP, RATE, mel_picture
from codi.types import ClipSpec, InputError

CHANNELS, ROWS = 16, 4
COLUMN = 8 * HOP
"""Samples of a latent column: 62.5 ms."""


class AudioEngine:
    """Sounds of any rate come in as 16 kHz mono; latents are [16, 4, columns] of 62.5 ms."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.prompt_encoder = parts.get("audio_prompt_encoder")
        self.autoencoder = parts.get("audio_autoencoder")
        self.vocoder = parts.get("audio_vocoder")
        self.environment = parts.get("audio_environment_encoder")
        unet = parts.get("audio_denoiser")
        if unet is not None:
            self.denoiser = AudioDenoiser(unet, parts.get("audio_bridge"))

    def prompt(self, media: Sequence[Audio]) -> torch.Tensor:
        """Sounds -> tokens [batch, K, width], from their first 2 seconds."""
        assert self.prompt_encoder is not None
        clip = ClipSpec()
        mel = mel_picture(torch.stack([self._samples(audio, clip) for audio in media]))
        times = (torch.arange(mel.shape[-1], dtype=torch.float64) + 0.5) * HOP / RATE
        parameter = next(self.prompt_encoder.parameters())
        return self.prompt_encoder(mel.to(parameter.device, parameter.dtype), times.to(parameter.device))

    def encode(self, media: Audio, clip: ClipSpec) -> torch.Tensor:
        """A sound -> [1, 16, 4, columns]: its first seconds, silence after its end."""
        assert self.autoencoder is not None
        self.latent_shape(clip)
        parameter = next(self.autoencoder.parameters())
        mel = mel_picture(self._samples(media, clip)[None])
        return self.autoencoder.encode(mel.to(parameter.device, parameter.dtype))

    def decode(self, latent: torch.Tensor, clip: ClipSpec) -> list[Audio]:
        """Latents -> mono sounds at 16 kHz."""
        assert self.autoencoder is not None and self.vocoder is not None
        samples = self.vocoder(self.autoencoder.decode(latent).clamp(-1, 1)).clamp(-1, 1)
        return [Audio(row[None], RATE) for row in samples.float().cpu().numpy()]

    def latent_shape(self, clip: ClipSpec) -> tuple[int, ...]:
        """(16, 4, columns).

        Raises:
            InputError: a duration that is no whole number of column pairs.
        """
        columns = clip.duration * RATE / COLUMN
        if columns != round(columns) or round(columns) % 2 or columns < 2:
            raise InputError(f"duration {clip.duration}", "is no multiple of 0.125 s", "codi-mini was trained at 2 s")
        return (CHANNELS, ROWS, round(columns))

    def clock(self, clip: ClipSpec, at: float | None = None) -> torch.Tensor:
        """Middles of the columns."""
        columns = self.latent_shape(clip)[-1]
        return (torch.arange(columns, dtype=torch.float64) + 0.5) * COLUMN / RATE

    def token_times(self, clock: torch.Tensor) -> torch.Tensor:
        """One token a column."""
        return clock

    def _samples(self, audio: Audio, clip: ClipSpec) -> torch.Tensor:
        """[duration * 16000] samples: mono, resampled, cut or filled with silence."""
        mono = torch.from_numpy(np.ascontiguousarray(audio.samples.mean(axis=0, dtype=np.float32)))
        wanted = round(clip.duration * RATE)
        heard = mono[: int(np.ceil(clip.duration * audio.rate)) + audio.rate]
        resampled = torchaudio.functional.resample(heard, audio.rate, RATE)[:wanted]
        return torch.nn.functional.pad(resampled, (0, wanted - len(resampled)))
