from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from codi.worlds.sounding_shapes import FACTORS, render_image, render_video, sample_scene
from codi.worlds.sounding_shapes.render import background
from codi.worlds.sounding_shapes.scene import HUES


def clean_scene(seed, **fixed):
    """A scene on a flat grey without noise, texture or outline."""
    scene = sample_scene(np.random.default_rng(seed), "all", **fixed)
    plain = {"noise": 0.0, "background": "flat", "tint": (0.0, 0.0, 0.0), "texture": "plain", "outline": 0.0}
    return replace(scene, look=replace(scene.look, **plain))


def colourful(scene):
    """Which pixels are the object's, bool [16, 64, 64]."""
    frames = render_video(scene, marks=False).astype(int)
    return frames.max(-1) - frames.min(-1) > 60


def boxes(scene):
    """Left, top, right, bottom of the object's pixels in every frame, [16, 4]; right and bottom are past the end."""
    rows = [(np.flatnonzero(m.any(0)), np.flatnonzero(m.any(1))) for m in colourful(scene)]
    return np.array([(x[0], y[0], x[-1] + 1, y[-1] + 1) for x, y in rows])


@pytest.mark.parametrize("shape", FACTORS["shape"])
@pytest.mark.parametrize("tempo", FACTORS["tempo"])
def test_a_bounce_touches_the_floor_exactly_at_its_events(shape, tempo):
    for seed in range(3):
        scene = clean_scene(seed, shape=shape, motion="bounce", tempo=tempo)
        low = boxes(scene)[:, 3] > 64 - scene.look.margin - 2
        assert tuple(np.flatnonzero(low)) == scene.event_frames


@pytest.mark.parametrize("shape", FACTORS["shape"])
@pytest.mark.parametrize("tempo", FACTORS["tempo"])
def test_a_slide_touches_alternate_walls_exactly_at_its_events(shape, tempo):
    for seed in range(3):
        scene = clean_scene(seed, shape=shape, motion="slide", tempo=tempo)
        found = boxes(scene)
        left, right = found[:, 0] < scene.look.margin + 2, found[:, 2] > 64 - scene.look.margin - 2
        assert tuple(np.flatnonzero(left | right)) == scene.event_frames
        hits = [bool(left[f]) for f in scene.event_frames]
        assert all(a != b for a, b in itertools.pairwise(hits))


@pytest.mark.parametrize("tempo", FACTORS["tempo"])
def test_a_pulse_is_widest_exactly_at_its_events(tempo):
    for seed in range(6):
        scene = clean_scene(seed, motion="pulse", tempo=tempo)
        area = colourful(scene).sum((1, 2))
        assert tuple(np.flatnonzero(area == area.max())) == scene.event_frames


def test_a_still_object_does_not_move():
    frames = render_video(clean_scene(0, motion="still"))
    assert (frames == frames[0]).all()


@pytest.mark.parametrize("motion", ["bounce", "slide", "pulse"])
def test_marks_show_in_the_frames_of_events_only(motion):
    scene = clean_scene(4, motion=motion)
    differs = (render_video(scene) != render_video(scene, marks=False)).any((1, 2, 3))
    assert tuple(np.flatnonzero(differs)) == scene.event_frames


def test_objects_stay_wholly_inside_and_sizes_stay_apart():
    rng = np.random.default_rng(8)
    for _ in range(60):
        scene = clean_scene(int(rng.integers(1000)))
        found = boxes(scene)
        assert found[:, :2].min() >= 1 and found[:, 2:].max() <= 63
    assert_radii_apart()


def assert_radii_apart():
    small = [clean_scene(s, size="small", motion="pulse").look for s in range(40)]
    assert max(look.radius * look.swell for look in small) < 12.0


def test_an_image_is_a_frame_of_the_clip_but_for_the_noise():
    scene = clean_scene(2, motion="slide")
    video = render_video(scene)
    assert all((render_image(scene, f) == video[f]).all() for f in range(16))
    noisy = replace(scene, look=replace(scene.look, noise=2.5))
    difference = render_image(noisy, 5).astype(int) - render_video(noisy)[5]
    assert 0 < np.abs(difference).mean() < 6


def test_rendering_is_deterministic_and_has_the_promised_form():
    scene = sample_scene(np.random.default_rng(11))
    video = render_video(scene)
    assert video.shape == (16, 64, 64, 3) and video.dtype == np.uint8
    assert (video == render_video(scene)).all()


def test_backgrounds_are_nearly_grey():
    rng = np.random.default_rng(4)
    for _ in range(40):
        level = background(sample_scene(rng))
        assert (level.max(0) - level.min(0)).max() < 0.07


def test_hues_of_colours_do_not_touch():
    ranges = sorted(HUES.values())
    assert all(after[0] - before[1] > 10 for before, after in itertools.pairwise(ranges))
