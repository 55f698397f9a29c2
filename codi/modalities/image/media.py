"""Picture files: PNG, JPEG, WebP and the first frame of a GIF come in; PNG goes out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.PngImagePlugin

from codi.media import (
    MAX_PIXELS,
    Image,
    check_file,
    check_pictures,
    container,
    corrupt,
    moving_gif,
    replacing,
    unreadable,
)
from codi.types import InputError

SUFFIX = ".png"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
FORMATS = "a PNG, JPEG, WebP or GIF picture"
_KINDS = {"PNG": "PNG", "JPEG": "JPEG", "WebP": "WEBP", "GIF": "GIF"}
_KEY = "Comment"


def sniff(path: Path) -> bool:
    """Whether the content is a picture; a GIF that moves is a clip."""
    kind = container(path)
    return kind in _KINDS and not (kind == "GIF" and moving_gif(path))


def check(media: Any, name: str) -> Image:
    """A picture as Python gives it: uint8 [height, width, 3], or one of Pillow's, which is laid on white.

    Raises:
        InputError: anything else.
    """
    if isinstance(media, PIL.Image.Image):
        return np.asarray(_opaque(media))
    return check_pictures(media, name, "height, width, 3")


def read(path: Path) -> Image:
    """Read a picture: upright (EXIF), transparency laid on white, uint8 [height, width, 3].

    Raises:
        InputError: missing, empty, no picture, damaged, or more than 50 million pixels.
    """
    check_file(path, FORMATS)
    kind = container(path)
    if kind not in _KINDS:
        raise unreadable(path, FORMATS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=[_KINDS[kind]]) as picture:
                _check_size(path, picture.width * picture.height)
                return np.asarray(_opaque(PIL.ImageOps.exif_transpose(picture)))
    except InputError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except Exception as error:
        # Decoders raise almost anything on damaged bytes: OSError, SyntaxError, struct.error, IndexError, ...
        raise corrupt(path) from error


def _check_size(path: Path, pixels: int) -> None:
    if pixels > MAX_PIXELS:
        raise _too_large(path)
    if pixels == 0:
        raise InputError(str(path), "has no pixels", f"give {FORMATS}")


def _too_large(path: Path) -> InputError:
    return InputError(str(path), f"has more than {MAX_PIXELS // 10**6} million pixels", "scale it down")


def _opaque(picture: PIL.Image.Image) -> PIL.Image.Image:
    """RGB, transparent parts laid on white."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        # Pillow would clip 16-bit grey to white.
        grey = np.asarray(picture).astype(np.float32) / 257.0
        return PIL.Image.fromarray(np.clip(grey + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    overlay = picture.convert("RGBA")
    white = PIL.Image.new("RGBA", overlay.size, "white")
    return PIL.Image.alpha_composite(white, overlay).convert("RGB")


def write(media: Image, path: Path, recipe: str | None) -> None:
    """Write a PNG with the recipe as its comment.

    Args:
        media: uint8 [height, width, 3].
        path: the file.
        recipe: JSON, or None.

    Raises:
        InputError: the file cannot be written.
    """
    info = PIL.PngImagePlugin.PngInfo()
    if recipe is not None:
        info.add_itxt(_KEY, recipe)
    with replacing(path) as temporary:
        PIL.Image.fromarray(media).save(temporary, format="PNG", pnginfo=info)


def read_recipe(path: Path) -> str | None:
    """The comment of a PNG, or None.

    Raises:
        InputError: the file cannot be read.
    """
    check_file(path, FORMATS)
    if container(path) != "PNG":
        return None
    try:
        with PIL.Image.open(path, formats=["PNG"]) as picture:
            text = picture.info.get(_KEY)
    except Exception as error:
        raise corrupt(path) from error
    return None if text is None else str(text)
