"""The cast: which sprite and which sound play each shape.

A world of real sprites and recorded samples is another table of this type, not another world.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codi.worlds.sounding_shapes import instruments as play
from codi.worlds.sounding_shapes import sprites as draw
from codi.worlds.sounding_shapes.instruments import Partials, SoundSource
from codi.worlds.sounding_shapes.motions import Extent
from codi.worlds.sounding_shapes.sprites import Drawn, SpriteSource


@dataclass(frozen=True)
class Role:
    """The look and the sound of one shape."""

    sprite: SpriteSource
    sound: SoundSource


Cast = Mapping[str, Role]

PROCEDURAL: Cast = {
    "circle": Role(Drawn(draw.circle, Extent(1.0, 1.0)), Partials(play.FLUTE)),
    "square": Role(Drawn(draw.square, Extent(0.88, 0.88)), Partials(play.REED)),
    "triangle": Role(Drawn(draw.triangle, Extent(1.05, 0.909)), Partials(play.ORGAN)),
    "star": Role(Drawn(draw.star, Extent(1.141, 1.085)), Partials(play.METAL)),
    "heart": Role(Drawn(draw.heart, Extent(1.041, 0.951)), Partials(play.STRING)),
    "diamond": Role(Drawn(draw.diamond, Extent(0.85, 1.15)), Partials(play.WOOD, click=0.5)),
}
"""Drawn shapes and additive synthesis."""
