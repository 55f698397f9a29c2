from __future__ import annotations

import numpy as np

from codi.worlds.sounding_shapes.textures import random_sound, random_texture


def test_pictures_have_the_promised_form_and_differ():
    rng = np.random.default_rng(0)
    pictures = [random_texture(rng) for _ in range(60)]
    assert all(p.shape == (64, 64, 3) and p.dtype == np.uint8 for p in pictures)
    assert len({p.tobytes() for p in pictures}) == 60


def test_sounds_have_the_promised_form_and_are_finite():
    rng = np.random.default_rng(0)
    for _ in range(60):
        wave = random_sound(rng)
        assert wave.shape == (32000,) and wave.dtype == np.float32
        assert np.isfinite(wave).all() and 0 < np.abs(wave).max() <= 0.951
