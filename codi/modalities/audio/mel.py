"""The mel front end: waveform -> log-mel picture, by torchaudio."""

from __future__ import annotations

from functools import cache

import torch
import torchaudio
from einops import rearrange

RATE = 16_000
HOP = 125
BANDS = 64
N_FFT = 1024
WINDOW = 512
FLOOR, CEILING = -3.5, 5.0
"""Natural logarithms of the mel magnitudes that become -1 and 1; what is quieter than the floor is silence."""


@cache
def _transform() -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(
        sample_rate=RATE,
        n_fft=N_FFT,
        win_length=WINDOW,
        hop_length=HOP,
        n_mels=BANDS,
        f_min=0.0,
        f_max=RATE / 2,
        power=1.0,
        norm=None,
        mel_scale="htk",
    )


def mel_picture(samples: torch.Tensor) -> torch.Tensor:
    """Waveform to picture.

    Args:
        samples: [batch, N] in [-1, 1] at 16 kHz, N a multiple of 1000 so that latents come out whole.

    Returns:
        [batch, 1, 64, N / 125] in [-1, 1]; column k is centred at k * 125 / 16000 seconds.
    """
    magnitude = _transform().to(samples.device)(samples)[..., :-1]
    level = magnitude.clamp_min(1e-5).log().clamp(FLOOR, CEILING)
    return rearrange((level - FLOOR) / (CEILING - FLOOR) * 2 - 1, "b f t -> b 1 f t")
