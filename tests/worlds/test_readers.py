from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codi.worlds.sounding_shapes import render_audio, render_image, render_video, sample_scene
from codi.worlds.sounding_shapes.readers import read_audio, read_image, read_text, read_video
from codi.worlds.sounding_shapes.readers.ceilings import ceilings
from codi.worlds.sounding_shapes.readers.weights import WEIGHTS


@pytest.fixture(scope="module")
def measured():
    return ceilings(count=96, seed=5)


@pytest.mark.parametrize(
    ("modality", "factor", "least"),
    [
        *(("text", f, 1.0) for f in ("shape", "colour", "size", "motion", "tempo")),
        *(("image", f, 0.95) for f in ("shape", "colour", "size")),
        *(("video", f, 0.95) for f in ("shape", "colour", "size", "motion", "tempo", "event F1")),
        *(("audio", f, 0.95) for f in ("shape", "colour", "size", "motion", "tempo", "event F1")),
    ],
)
def test_readers_read_fresh_renders(measured, modality, factor, least):
    assert measured[modality][factor] >= least


def test_onsets_are_read_to_a_few_milliseconds(measured):
    assert measured["audio"]["offset ms"] < 5


def test_a_sound_may_start_between_frames():
    scene = sample_scene(np.random.default_rng(2), motion="bounce", tempo="medium", size="large")
    late = np.concatenate([np.zeros(800, dtype=np.float32), render_audio(scene)[:-800]])
    found = read_audio([late])[0].events
    np.testing.assert_allclose(found, scene.event_times + 0.05, atol=0.012)


def test_a_reading_is_that_of_the_medium_alone():
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng) for _ in range(3)]
    videos = [render_video(s) for s in scenes]
    together, alone = read_video(videos), read_video(videos[1:2])
    assert together[1].factors == alone[0].factors
    np.testing.assert_allclose(together[1].features, alone[0].features, atol=1e-4)


def test_still_scenes_have_no_tempo_and_one_event_at_the_start():
    rng = np.random.default_rng(1)
    scene = sample_scene(rng, motion="still", size="large")
    for reading in (*read_video([render_video(scene)]), *read_audio([render_audio(scene)])):
        assert "tempo" not in reading.factors
        assert reading.events.tolist() == [0.0] and len(reading.moving_events) == 0


def test_at_another_rate_the_tempo_is_that_of_seconds():
    rng = np.random.default_rng(4)
    clip = render_video(sample_scene(rng, motion="bounce", tempo="medium", size="large"))
    assert [read_video([clip], fps)[0].factors["tempo"] for fps in (8.0, 12.0, 6.0)] == ["medium", "fast", "slow"]
    seldom = sample_scene(rng, motion="bounce", tempo="slow", size="large")
    once = render_video(replace(seldom, event_frames=seldom.event_frames[:1], after=40))
    assert "tempo" not in read_video([once], 12.0)[0].factors


def test_larger_pictures_are_scaled():
    scene = sample_scene(np.random.default_rng(3))
    small = render_image(scene, 4)
    large = small.repeat(2, 0).repeat(2, 1)
    assert read_image([large])[0].factors == read_image([small])[0].factors


def test_texts_have_no_events():
    assert len(read_text(["a red circle bouncing quickly"])[0].events) == 0


def test_the_weights_are_small():
    assert WEIGHTS.stat().st_size < 1_000_000
