"""Audio on the tensor side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torchaudio

from codi.media import Audio
from codi.modalities.audio.denoiser import AudioDenoiser
from codi.modalities.audio.mel import HOP, RATE, mel_picture
from codi.modality import Unpinned
from codi.types import ClipSpec, InputError, Part

CHANNELS, ROWS = 16, 4
COLUMN = 8 * HOP
"""Samples of a latent column: 62.5 ms."""
LONGEST = 4000
"""Largest rate, over what two rates have in common, that sounds are resampled by exactly."""


class AudioEngine(Unpinned):
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

    def held(self, part: Part, clip: ClipSpec) -> torch.Tensor:
        """[columns]: those within the spans.

        Raises:
            InputError: no span.
        """
        if not part.spans:
            raise InputError("given audio", "names no span that stands", "give seconds, as in audio@0:1=sound.wav")
        columns = np.arange(self.latent_shape(clip)[-1]) * COLUMN / RATE
        return torch.from_numpy(part.stands(columns, columns + COLUMN / RATE)).float()

    def mend(self, made: Audio, part: Part, clip: ClipSpec) -> Audio:
        """The sound at the rate and with the channels of what was given, whose samples within the spans are its own."""
        own: Audio = part.media
        count = round(clip.duration * own.rate)
        new = _resampled(torch.from_numpy(made.samples), made.rate, own.rate).numpy()
        new = np.pad(new, ((0, 0), (0, max(0, count - new.shape[-1]))))[:, :count]
        whole = np.repeat(new, len(own.samples), axis=0)
        for start, stop in part.spans:
            first, last = (min(round(moment * own.rate), own.samples.shape[-1], count) for moment in (start, stop))
            _lay(whole, own.samples, first, last, ramp=round(0.005 * own.rate))
        # What was bent may pass 1: to scale it all down would change what stands.
        return Audio(whole.clip(-1, 1), own.rate)

    def shown(self, part: Part) -> Audio:
        """The samples that stand, with silence between."""
        own: Audio = part.media
        moments = np.arange(own.samples.shape[-1]) / own.rate
        return Audio(
            np.where(part.stands(moments, moments + 1 / own.rate), own.samples, 0).astype(np.float32), own.rate
        )

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
        resampled = _resampled(heard, audio.rate, RATE)[:wanted]
        return torch.nn.functional.pad(resampled, (0, wanted - len(resampled)))


def _resampled(samples: torch.Tensor, rate: int, wanted: int) -> torch.Tensor:
    """[..., samples] at another rate, one of the two being RATE.

    The less two rates have in common, the longer the filter is. An odd one is taken for the nearest that has enough in
    common with RATE, which moves a pitch by some hundredths of a semitone.
    """
    longest = max(rate, wanted)
    if longest // math.gcd(rate, wanted) > LONGEST:
        common = next(d for d in range(1, RATE + 1) if RATE % d == 0 and d * LONGEST >= longest)
        rate, wanted = (max(common, common * round(each / common)) for each in (rate, wanted))
    return torchaudio.functional.resample(samples, rate, wanted)


def _lay(whole: np.ndarray, own: np.ndarray, first: int, last: int, ramp: int) -> None:
    """Put own samples `first` to `last` into `whole`; what joins them is bent to meet them, over `ramp` samples."""
    if last <= first:
        return
    before, after = whole[:, max(0, first - ramp) : first], whole[:, last : last + ramp]
    if before.size:
        before += np.linspace(0, 1, before.shape[1], dtype=np.float32) * (own[:, first] - before[:, -1])[:, None]
    if after.size:
        after += np.linspace(1, 0, after.shape[1], dtype=np.float32) * (own[:, last - 1] - after[:, 0])[:, None]
    whole[:, first:last] = own[:, first:last]
