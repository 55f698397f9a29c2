"""Pictures on their way in: once through what CLIP's processor of 2022 did, or to the size that is generated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch
from einops import rearrange

from codi.media import Image

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures in [0, 1], by channel (Radford et al. 2021)."""

GREY = 127
"""A picture that says nothing: the release's mid grey as its processor rounds it."""


def square(picture: Image, side: int) -> Image:
    """The middle square at `side` pixels: the short side scaled bicubically, the long one cropped.

    Args:
        picture: uint8 [height, width, 3].
        side: pixels.

    Returns:
        uint8 [side, side, 3].
    """
    height, width = picture.shape[:2]
    short = min(height, width)
    size = (int(side * width / short), int(side * height / short))
    scaled = PIL.Image.fromarray(picture).resize(size, PIL.Image.Resampling.BICUBIC)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return np.asarray(scaled.crop((left, top, left + side, top + side)))


def clip_pixels(pictures: Sequence[Image], side: int) -> torch.Tensor:
    """What CLIP sees: cut square, scaled to [0, 1] once, normalised.

    transformers' processor of today would divide floats in [0, 1] by 255 again: pictures stay uint8 until here.

    Args:
        pictures: uint8 [height, width, 3] each.
        side: pixels of CLIP's picture.

    Returns:
        [pictures, 3, side, side] float32.
    """
    stacked = torch.from_numpy(np.stack([square(picture, side) for picture in pictures])).float() / 255
    normed = (stacked - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    return rearrange(normed, "n h w c -> n c h w")


def to_latent_range(pictures: Sequence[Image], side: int) -> torch.Tensor:
    """Pictures for the autoencoder: [pictures, 3, side, side] in [-1, 1]."""
    stacked = torch.from_numpy(np.stack([square(picture, side) for picture in pictures])).float()
    return rearrange(stacked, "n h w c -> n c h w") / 127.5 - 1


def to_pictures(pixels: torch.Tensor) -> np.ndarray:
    """[n, 3, h, w] in [-1, 1] -> uint8 [n, h, w, 3]."""
    scaled = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return rearrange(scaled, "n c h w -> n h w c").cpu().numpy()
