"""The tensor side of each modality over a codi-v1 bundle."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torchaudio
from einops import rearrange

from codi.backbones.codi_v1.branch import Branch, branch
from codi.backbones.codi_v1.encoders import HOP, RATE, audio_token, log_mel, picture_token, text_token
from codi.backbones.codi_v1.pixels import GREY, clip_pixels, to_latent_range, to_pictures
from codi.backbones.codi_v1.scheduler import TRAINED_STEPS
from codi.backbones.codi_v1.temporal import MAX_FRAMES
from codi.media import Audio, Image, Video
from codi.modality import Whole
from codi.types import ClipSpec, CodiWarning, Denoised, InputError, Tokens

TRAINED_FRAMES = 8
TRAINED_SECONDS = 10.24
"""Lengths of the clips and sounds that the release was trained on."""

TEXT_SCALE = 4.3108
"""What text latents are multiplied by, so that they have about unit variance."""


class Predicting:
    """`Denoiser` over a branch."""

    def __init__(self, side: Branch) -> None:
        self.side = side

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """The noise; `partners` are the environment tokens that the readers see."""
        tokens = None if partners is None else partners.states
        return Denoised(self.side.predict(latent, timesteps(level), prompt.states, tokens))


class Showing:
    """An environment encoder that reads the noisy latent and its level, and nothing of the denoiser's features."""

    reads_latent = True

    def __init__(self, side: Branch) -> None:
        self.side = side

    def __call__(self, latent: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """One token, [batch, 1, channels]."""
        return self.side.show(latent, timesteps(level))


def timesteps(level: torch.Tensor) -> torch.Tensor:
    """Levels from 0 to 1 -> whole timesteps."""
    return (level.float() * TRAINED_STEPS).round()


class _Engine(Whole):
    """What the modalities share: a token of no time, and a branch where the bundle has one.

    Attributes:
        seconds: the length that the modality is made at where none is asked for; None where it has none.
    """

    name = ""
    seconds: float | None = None

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = parts
        side = branch(self.name, parts)
        if side.unet is not None:
            self.denoiser = Predicting(side)
        self.environment = Showing(side) if side.environment is not None and side.unet is not None else None

    def clock(self, clip: ClipSpec, at: float | None = None) -> torch.Tensor:
        """NaN: environment tokens are means over the whole latent, and stand at no time."""
        return torch.full((1,), torch.nan, dtype=torch.float64)

    def token_times(self, clock: torch.Tensor) -> torch.Tensor:
        """NaN."""
        return clock

    def _like(self, name: str) -> dict[str, Any]:
        """Where and as what a component computes."""
        parameter = next(self.parts[name].parameters())
        return {"device": parameter.device, "dtype": parameter.dtype}


class TextEngine(_Engine):
    """Captions: CLIP reads them, Optimus writes them; latents are vectors."""

    name = "text"
    nothing = ""

    def prompt(self, media: Sequence[str]) -> torch.Tensor:
        """Texts -> [batch, 1, channels]."""
        model = self.parts["clip_text"]
        words = self.parts["clip_tokenizer"](
            list(media),
            padding="max_length",
            max_length=model.config.max_position_embeddings,
            truncation=True,
            return_tensors="pt",
        )
        return text_token(model, words.input_ids.to(model.device))

    def encode(self, media: str, clip: ClipSpec) -> torch.Tensor:
        """A text, lower-cased as released -> [1, latent]."""
        model = self.parts["optimus_encoder"]
        length = model.config.positions
        ids = self.parts["bert_tokenizer"](media.lower(), truncation=True, max_length=length, return_tensors="pt")
        return TEXT_SCALE * model(ids.input_ids.to(model.device))[0]

    def decode(self, latent: torch.Tensor, clip: ClipSpec) -> list[str]:
        """Latents -> captions; what is drawn is a function of the latent alone."""
        return [self._spoken(row[None] / TEXT_SCALE) for row in latent]

    def latent_shape(self, clip: ClipSpec) -> tuple[int, ...]:
        """(latent,)."""
        return (self.parts["text_denoiser"].config.channels,)

    def _spoken(self, latent: torch.Tensor) -> str:
        tokenizer = self.parts["gpt2_tokenizer"]
        start, end = (tokenizer.convert_tokens_to_ids(name) for name in ("<BOS>", "<EOS>"))
        digest = hashlib.sha256(latent.float().cpu().numpy().tobytes()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
        ids = self.parts["optimus_decoder"].sample(latent, start, end, generator)[1:]
        words = tokenizer.decode([one for one in ids if one != end], skip_special_tokens=True).split()
        # A sentence that did not end within its length loses its last word, which may be half of one.
        words = words if ids and ids[-1] == end else words[:-1]
        return " ".join(word for k, word in enumerate(words) if k == 0 or word != words[k - 1])


class _PictureEngine(_Engine):
    """What images and clips share."""

    def _side(self, clip: ClipSpec) -> tuple[int, int, int]:
        """(channels, size / 8, size / 8).

        Raises:
            InputError: a size that the UNet cannot halve on each level.
        """
        unet, factor = self.parts["image_denoiser"].config, self._factor()
        unit = factor * 2 ** (len(unet.channel_mult) - 1)
        if clip.size % unit or clip.size < unit:
            raise InputError(f"size {clip.size}", f"is no multiple of {unit}", "codi-v1 was trained at 256 and 512")
        return (unet.channels, clip.size // factor, clip.size // factor)

    def _factor(self) -> int:
        return int(2 ** (len(self.parts["picture_autoencoder"].config.block_out_channels) - 1))

    def _encoded(self, pictures: Sequence[Image], clip: ClipSpec) -> torch.Tensor:
        model = self.parts["picture_autoencoder"]
        pixels = to_latent_range(pictures, clip.size).to(**self._like("picture_autoencoder"))
        return model.config.scaling_factor * model.encode(pixels).latent_dist.mode()

    def _decoded(self, latent: torch.Tensor) -> np.ndarray:
        model = self.parts["picture_autoencoder"]
        return to_pictures(model.decode(latent / model.config.scaling_factor).sample)


class ImageEngine(_PictureEngine):
    """Pictures: CLIP reads them; latents are an eighth of the size."""

    name = "image"
    nothing = np.full((8, 8, 3), GREY, np.uint8)

    def prompt(self, media: Sequence[Image]) -> torch.Tensor:
        """Pictures -> [batch, 1, channels]."""
        model = self.parts["clip_vision"]
        return picture_token(model, clip_pixels(media, model.config.image_size).to(**self._like("clip_vision")))

    def encode(self, media: Image, clip: ClipSpec) -> torch.Tensor:
        """A picture -> [1, channels, size / 8, size / 8]."""
        return self._encoded([media], clip)

    def decode(self, latent: torch.Tensor, clip: ClipSpec) -> list[Image]:
        """Latents -> pictures, uint8."""
        return list(self._decoded(latent))

    def latent_shape(self, clip: ClipSpec) -> tuple[int, ...]:
        """(channels, size / 8, size / 8).

        Raises:
            InputError: a size that the UNet cannot halve on each level.
        """
        return self._side(clip)


class VideoEngine(_PictureEngine):
    """Clips: CLIP with temporal layers reads them; latents are the image's, frame by frame."""

    name = "video"
    seconds = 2.0

    nothing = Video(np.full((1, 8, 8, 3), GREY, np.uint8), 4.0)

    def prompt(self, media: Sequence[Video]) -> torch.Tensor:
        """Clips -> [batch, 1, channels], from up to 8 frames spread over them."""
        return torch.cat([self._token(clip) for clip in media])

    def _token(self, clip: Video) -> torch.Tensor:
        model = self.parts["clip_vision"]
        frames = clip.frames[spread(len(clip.frames), TRAINED_FRAMES)]
        pixels = clip_pixels(list(frames), model.config.image_size).to(**self._like("clip_vision"))
        return self.parts["clip_frames"](model, pixels[None])

    def encode(self, media: Video, clip: ClipSpec) -> torch.Tensor:
        """A clip -> [1, channels, frames, size / 8, size / 8]: its frames at the clip's times, the last one held."""
        middles = (np.arange(clip.frames) + 0.5) / clip.fps
        at = np.minimum((middles * media.fps).astype(int), len(media.frames) - 1)
        return rearrange(self._encoded(list(media.frames[at]), clip), "t c h w -> 1 c t h w")

    def decode(self, latent: torch.Tensor, clip: ClipSpec) -> list[Video]:
        """Latents -> clips without sound."""
        pictures = self._decoded(rearrange(latent, "b c t h w -> (b t) c h w"))
        return [Video(frames, clip.fps) for frames in rearrange(pictures, "(b t) h w c -> b t h w c", b=len(latent))]

    def latent_shape(self, clip: ClipSpec) -> tuple[int, ...]:
        """(channels, frames, size / 8, size / 8).

        Raises:
            InputError: more frames than the temporal layers have positions, or a size as of a picture.
        """
        channels, height, width = self._side(clip)
        asked = f"{clip.duration:g} s at {clip.fps:g} frames a second"
        if clip.frames > MAX_FRAMES:
            raise InputError(
                asked, f"is {clip.frames} frames", f"codi-v1 has positions for {MAX_FRAMES} and was trained at 8"
            )
        if clip.frames > TRAINED_FRAMES:
            warnings.warn(
                f"{asked}: is {clip.frames} frames, and codi-v1 was trained at {TRAINED_FRAMES}; expect less of it",
                CodiWarning,
                stacklevel=2,
            )
        return (channels, clip.frames, height, width)


BANDS = 64
"""Mel bands of the front end."""


class AudioEngine(_Engine):
    """Sounds: CLAP reads them; latents are mel pictures at a quarter of their size, [channels, time, bands]."""

    name = "audio"
    seconds = TRAINED_SECONDS
    nothing = Audio(np.zeros((1, RATE), np.float32), RATE)

    def prompt(self, media: Sequence[Audio]) -> torch.Tensor:
        """Sounds -> [batch, 1, channels], from their first 10 seconds."""
        return torch.cat([audio_token(self.parts["clap"], mono(sound)[None]) for sound in media])

    def encode(self, media: Audio, clip: ClipSpec) -> torch.Tensor:
        """A sound -> [1, channels, time, bands]: its first seconds, silence after its end."""
        model = self.parts["mel_autoencoder"]
        mel = log_mel(mono(media)[None], self._factor() * self.latent_shape(clip)[1])
        moments = model.encode(mel.to(**self._like("mel_autoencoder"))).latent_dist
        return model.config.scaling_factor * moments.mode()

    def decode(self, latent: torch.Tensor, clip: ClipSpec) -> list[Audio]:
        """Latents -> mono sounds at 16 kHz, as long as the clip."""
        model, vocoder = self.parts["mel_autoencoder"], self.parts["audio_vocoder"]
        mel = model.decode(latent / model.config.scaling_factor).sample[:, 0]
        samples = vocoder(mel).reshape(len(latent), -1)[:, : round(clip.duration * RATE)].clamp(-1, 1)
        return [Audio(row[None], RATE) for row in samples.float().cpu().numpy()]

    def latent_shape(self, clip: ClipSpec) -> tuple[int, ...]:
        """(channels, time, bands): rows of 40 ms, up to a length that the UNet can halve on each level."""
        unet, unit = (
            self.parts["audio_denoiser"].config,
            2 ** (len(self.parts["audio_denoiser"].config.channel_mult) - 1),
        )
        if clip.duration > TRAINED_SECONDS:
            warnings.warn(
                f"duration {clip.duration:g} s: codi-v1 was trained at {TRAINED_SECONDS} s; expect less of it",
                CodiWarning,
                stacklevel=2,
            )
        rows = clip.duration * RATE / HOP / self._factor()
        return (unet.channels, max(1, int(np.ceil(rows / unit - 1e-9))) * unit, BANDS // self._factor())

    def _factor(self) -> int:
        return int(2 ** (len(self.parts["mel_autoencoder"].config.block_out_channels) - 1))


def mono(sound: Audio) -> torch.Tensor:
    """[N] samples at 16 kHz."""
    samples = torch.from_numpy(np.ascontiguousarray(sound.samples.mean(axis=0, dtype=np.float32)))
    return torchaudio.functional.resample(samples, sound.rate, RATE)


def spread(total: int, wanted: int) -> np.ndarray:
    """Indices of up to `wanted` frames, from the first to the last."""
    return np.linspace(0, total - 1, min(total, wanted)).round().astype(int)
