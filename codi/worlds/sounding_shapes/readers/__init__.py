"""Readers: factors and event times out of pixels, samples or words.

They are written or trained on renders only, never on a model's outputs.
"""

from __future__ import annotations

from codi.worlds.sounding_shapes.readers.reading import (
    Reading,
    read_audio,
    read_image,
    read_places,
    read_text,
    read_video,
)

__all__ = ["Reading", "read_audio", "read_image", "read_places", "read_text", "read_video"]
