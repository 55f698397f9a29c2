"""Video on the tensor side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat

from codi.media import Image, Video
from codi.modalities.image.engine import FACTOR, SIDE, fit, picture_shape, to_pixels, to_tensor, unfit
from codi.modalities.video.denoiser import SLOTS, VideoDenoiser
from codi.networks.clip_transformer import PATCH
from codi.types import ClipSpec, InputError, Part

MAX_FRAMES = 32
"""Most frames of a clip: twice what the denoiser was trained on."""


class VideoEngine:
    """Clips of any rate and size come in as frames of 64x64 at the clip's times; latents are [12, frames, 8, 8]."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.prompt_encoder = parts.get("video_prompt_encoder")
        self.autoencoder = parts.get("image_autoencoder")
        self.environment = parts.get("video_environment_encoder")
        transformer = parts.get("video_denoiser")
        if transformer is not None:
            self.denoiser = VideoDenoiser(transformer, parts.get("video_painter"), parts.get("video_bridge"))

    def prompt(self, media: Sequence[Video]) -> torch.Tensor:
        """Clips -> tokens [batch, K, width], from their first 2 seconds."""
        assert self.prompt_encoder is not None
        clip = ClipSpec()
        frames = torch.stack([self._frames(video, clip, SIDE, self.prompt_encoder) for video in media])
        times = self.clock(clip).to(frames.device)
        return self.prompt_encoder(rearrange(frames, "b f c h w -> b c f h w"), times)

    def encode(self, media: Video, clip: ClipSpec) -> torch.Tensor:
        """A clip -> [1, 12, frames, size / 8, size / 8]: its frames at the clip's times, the last one held."""
        assert self.autoencoder is not None
        self.latent_shape(clip)
        latents = self.autoencoder.encode(self._frames(media, clip, clip.size, self.autoencoder))
        return rearrange(latents, "f c h w -> 1 c f h w")

    def decode(self, latent: torch.Tensor, clip: ClipSpec) -> list[Video]:
        """Latents -> clips without sound."""
        assert self.autoencoder is not None
        pixels = to_pixels(self.autoencoder.decode(rearrange(latent, "b c f h w -> (b f) c h w")))
        return [Video(frames, clip.fps) for frames in rearrange(pixels, "(b f) h w c -> b f h w c", b=len(latent))]

    def held(self, part: Part, clip: ClipSpec) -> torch.Tensor:
        """[frames, 1, 1]: those whose middle lies within the spans.

        Raises:
            InputError: no span.
        """
        if not part.spans:
            raise InputError("given video", "names no span that stands", "give seconds, as in video@0:1=clip.mp4")
        middles = self.clock(clip).numpy()
        return torch.from_numpy(part.stands(middles, middles)).float()[:, None, None]

    def mend(self, made: Video, part: Part, clip: ClipSpec) -> Video:
        """The clip at the rate and size of what was given, whose frames within the spans are its own."""
        own: Video = part.media
        middles = (np.arange(max(1, round(clip.duration * own.fps))) + 0.5) / own.fps
        kept = part.stands(middles, middles) & (np.arange(len(middles)) < len(own.frames))
        drawn = np.minimum((middles * made.fps).astype(int), len(made.frames) - 1)
        new = {k: unfit(made.frames[k], own.frames.shape[1:3]) for k in sorted(set(drawn[~kept]))}
        return Video(np.stack([own.frames[n] if kept[n] else new[drawn[n]] for n in range(len(middles))]), own.fps)

    def shown(self, part: Part) -> Video:
        """The frames that stand, each held until the next of them."""
        own: Video = part.media
        middles = (np.arange(len(own.frames)) + 0.5) / own.fps
        kept = np.flatnonzero(part.stands(middles, middles))
        last = np.searchsorted(kept, np.arange(len(own.frames)), side="right") - 1
        return Video(own.frames[kept[np.maximum(last, 0)]], own.fps) if len(kept) else own

    def pinned(self, name: str, media: Image, seconds: float, clip: ClipSpec) -> Part | None:
        """A picture is the frame that stands at its instant."""
        if name != "image":
            return None
        frame = clip.frame_at(seconds)
        still = np.broadcast_to(fit(media, clip.size), (clip.frames, clip.size, clip.size, 3))
        return Part(Video(still, clip.fps), spans=((frame / clip.fps, (frame + 1) / clip.fps),))

    def latent_shape(self, clip: ClipSpec) -> tuple[int, ...]:
        """(12, frames, size / 8, size / 8).

        Raises:
            InputError: more frames than MAX_FRAMES, or a size that the transformer's patches do not divide.
        """
        if clip.size % (FACTOR * PATCH):
            raise InputError(
                f"size {clip.size}", f"is no multiple of {FACTOR * PATCH}", f"clips were trained at {SIDE}"
            )
        if clip.frames > MAX_FRAMES:
            raise InputError(
                f"{clip.duration} s at {clip.fps} frames a second",
                f"is {clip.frames} frames",
                f"codi-mini's clips have {MAX_FRAMES} at most",
            )
        channels, height, width = picture_shape(clip)
        return (channels, clip.frames, height, width)

    def clock(self, clip: ClipSpec, at: float | None = None) -> torch.Tensor:
        """Middles of the frames."""
        return (torch.arange(clip.frames, dtype=torch.float64) + 0.5) / clip.fps

    def token_times(self, clock: torch.Tensor) -> torch.Tensor:
        """Each frame's for its quarters."""
        return repeat(clock, "t -> (t s)", s=SLOTS)

    def _frames(self, media: Video, clip: ClipSpec, side: int, like: torch.nn.Module) -> torch.Tensor:
        """[frames, 3, side, side]: the frames that stand at the middles of the clip's frames."""
        middles = self.clock(clip).numpy()
        at = np.minimum((middles * media.fps).astype(int), len(media.frames) - 1)
        return to_tensor(np.stack([fit(media.frames[k], side) for k in at]), like)
