"""Sounding Shapes: a procedural audiovisual world with known factors and known event times.

Every scene has a look, a sound and a caption that are made from the same factors, so that the question
"do the outputs fit together?" has an exact answer. It is usable without any model.
"""

from __future__ import annotations

from codi.worlds.sounding_shapes.captions import caption, full_caption, read_caption
from codi.worlds.sounding_shapes.factors import FACTORS, HELD_OUT, SHOWN
from codi.worlds.sounding_shapes.render import render_image, render_video
from codi.worlds.sounding_shapes.scene import Scene, sample_scene
from codi.worlds.sounding_shapes.sound import render_audio

__all__ = [
    "FACTORS",
    "HELD_OUT",
    "SHOWN",
    "Scene",
    "caption",
    "full_caption",
    "read_caption",
    "render_audio",
    "render_image",
    "render_video",
    "sample_scene",
]
