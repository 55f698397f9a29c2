"""Images on the tensor side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from einops import rearrange, repeat

from codi.media import Image, kind_of
from codi.modalities.image.denoiser import SLOTS, ImageDenoiser
from codi.modality import Unpinned
from codi.types import ClipSpec, InputError, Part

SIDE = 64
FACTOR = 8


class ImageEngine(Unpinned):
    """Pictures of any size come in scaled to fit 64x64; latents are [12, size / 8, size / 8]."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.prompt_encoder = parts.get("image_prompt_encoder")
        self.autoencoder = parts.get("image_autoencoder")
        self.environment = parts.get("image_environment_encoder")
        unet = parts.get("image_denoiser")
        if unet is not None:
            self.denoiser = ImageDenoiser(unet, parts.get("image_bridge"))

    def prompt(self, media: Sequence[Image]) -> torch.Tensor:
        """Pictures -> tokens [batch, K, width]."""
        assert self.prompt_encoder is not None
        return self.prompt_encoder(to_tensor(np.stack([fit(picture, SIDE) for picture in media]), self.prompt_encoder))

    def encode(self, media: Image, clip: ClipSpec) -> torch.Tensor:
        """A picture -> [1, 12, size / 8, size / 8]."""
        assert self.autoencoder is not None
        self.latent_shape(clip)
        return self.autoencoder.encode(to_tensor(fit(media, clip.size)[None], self.autoencoder))

    def decode(self, latent: torch.Tensor, clip: ClipSpec) -> list[Image]:
        """Latents -> pictures, uint8."""
        assert self.autoencoder is not None
        return list(to_pixels(self.autoencoder.decode(latent)))

    def held(self, part: Part, clip: ClipSpec) -> torch.Tensor:
        """[size / 8, size / 8]: the cells whose pixels all stand.

        Raises:
            InputError: no mask, or one of another size than the picture.
        """
        if part.mask is None:
            raise InputError("given image", "names no mask of what stands", "give one, as in image@mask.png=photo.png")
        if np.ndim(part.mask) != 2:
            raise InputError("given image", f"has a mask {kind_of(part.mask)}", "give bool [height, width]")
        if part.mask.shape != part.media.shape[:2]:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (part.mask.shape, part.media.shape)]
            raise InputError("given image", f"has a mask of {sizes[0]}", f"give one of {sizes[1]}, the picture's size")
        shown = np.repeat(np.where(part.mask, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
        whole = fit(shown, clip.size)[..., 0] == 255
        cells = rearrange(whole, "(h p) (w q) -> h w (p q)", p=FACTOR, q=FACTOR).all(-1)
        return torch.from_numpy(cells).float()

    def mend(self, made: Image, part: Part, clip: ClipSpec) -> Image:
        """The picture that was given, with what was made where its mask is False."""
        return np.where(part.mask[..., None], part.media, unfit(made, part.media.shape[:2]))

    def shown(self, part: Part) -> None:
        """Nothing: what is to be filled in is often the very object."""

    def latent_shape(self, clip: ClipSpec) -> tuple[int, ...]:
        """(12, size / 8, size / 8)."""
        return picture_shape(clip)

    def clock(self, clip: ClipSpec, at: float | None = None) -> torch.Tensor:
        """The middle of the frame that the picture is, or NaN for a picture at no instant."""
        middle = torch.nan if at is None else (clip.frame_at(at) + 0.5) / clip.fps
        return torch.tensor([middle], dtype=torch.float64)

    def token_times(self, clock: torch.Tensor) -> torch.Tensor:
        """The same for each quarter."""
        return repeat(clock, "t -> (t s)", s=SLOTS)


def picture_shape(clip: ClipSpec) -> tuple[int, int, int]:
    """Shape of a picture's latent.

    Raises:
        InputError: a size that the autoencoder's patches do not divide.
    """
    if clip.size % (2 * FACTOR) or clip.size < 2 * FACTOR:
        raise InputError(f"size {clip.size}", "is no multiple of 16", f"codi-mini was trained at {SIDE}")
    return (12, clip.size // FACTOR, clip.size // FACTOR)


def fit(picture: Image, side: int) -> Image:
    """Scale a picture to fit a square and fill what is left with the median colour of its border."""
    height, width = picture.shape[:2]
    if (height, width) == (side, side):
        return picture
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(PIL.Image.fromarray(picture).resize(size, PIL.Image.Resampling.LANCZOS))
    border = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = np.median(border, axis=0)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


def unfit(square: Image, shape: tuple[int, ...]) -> Image:
    """The inverse of `fit` for a picture of [height, width] = `shape`."""
    if square.shape[:2] == tuple(shape):
        return square
    side, (height, width) = len(square), shape
    scale = side / max(height, width)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    top, left = (side - high) // 2, (side - wide) // 2
    shown = PIL.Image.fromarray(square[top : top + high, left : left + wide])
    return np.asarray(shown.resize((width, height), PIL.Image.Resampling.BICUBIC))


def to_tensor(pictures: np.ndarray, like: torch.nn.Module) -> torch.Tensor:
    """uint8 [n, h, w, 3] -> [n, 3, h, w] in [-1, 1], where and as a module wants it."""
    parameter = next(like.parameters())
    moved = torch.from_numpy(np.ascontiguousarray(pictures)).to(parameter.device, parameter.dtype)
    return rearrange(moved, "n h w c -> n c h w") / 127.5 - 1


def to_pixels(pictures: torch.Tensor) -> np.ndarray:
    """[n, 3, h, w] in [-1, 1] -> uint8 [n, h, w, 3]."""
    scaled = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return rearrange(scaled, "n c h w -> n h w c").cpu().numpy()
