"""Sketches keep what the scene says."""

from __future__ import annotations

import numpy as np

from codi.training.sketches import sketch
from codi.worlds.sounding_shapes import sample_scene
from codi.worlds.sounding_shapes.readers import read_image


def test_a_sketch_is_a_clip_of_one_style_and_another_draw_is_another():
    scene = sample_scene(np.random.default_rng(0), motion="still")
    clip = sketch(scene, np.arange(16), np.random.default_rng(1))
    assert clip.shape == (16, 64, 64, 3) and clip.dtype == np.uint8
    assert (clip == clip[0]).all()  # a still scene stands still
    assert not np.array_equal(clip, sketch(scene, np.arange(16), np.random.default_rng(2)))


def test_most_sketches_still_read_as_their_colour_and_shape():
    rng = np.random.default_rng(4)
    scenes = [sample_scene(rng) for _ in range(60)]
    read = [r.factors for r in read_image([sketch(s, np.array([5]), rng)[0] for s in scenes])]
    pairs = list(zip(read, scenes, strict=True))
    right = {f: np.mean([r[f] == getattr(s, f) for r, s in pairs]) for f in ("shape", "colour")}
    assert right["shape"] > 0.6 and right["colour"] > 0.6
