from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codi.worlds.sounding_shapes import FACTORS, render_audio, sample_scene
from codi.worlds.sounding_shapes.sound import PITCHES


def quiet_scene(seed, **fixed):
    scene = sample_scene(np.random.default_rng(seed), "all", **fixed)
    return replace(scene, voice=replace(scene.voice, noise=0.0))


@pytest.mark.parametrize("shape", FACTORS["shape"])
@pytest.mark.parametrize("motion", ["bounce", "slide", "pulse"])
def test_a_hit_starts_within_a_millisecond_of_its_event(shape, motion):
    scene = quiet_scene(1, shape=shape, motion=motion, size="small")
    for frame in (1, 6, 13):
        wave = np.abs(render_audio(replace(scene, event_frames=(frame,), voice=replace(scene.voice, accents=(1.0,)))))
        start = frame * 2000
        assert wave[:start].max() == 0.0
        assert wave[start : start + 16].max() > 0.1 * wave.max()


def test_a_still_scene_sounds_one_soft_tone_at_the_start():
    wave = np.abs(render_audio(quiet_scene(2, motion="still", size="large")))
    assert wave[:160].max() < 0.1 * wave.max() < 0.1 * 0.9
    assert wave.argmax() < 8000


@pytest.mark.parametrize("colour", FACTORS["colour"])
def test_the_pitch_is_the_colours(colour):
    wave = render_audio(quiet_scene(3, shape="circle", colour=colour, motion="pulse", size="large"))
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    loudest = spectrum.argmax() / 2.0
    assert abs(12 * np.log2(loudest / PITCHES[colour])) < 0.3


def test_pitches_are_at_least_three_semitones_apart_and_span_more_than_an_octave():
    hertz = np.array(sorted(PITCHES.values()))
    assert (12 * np.log2(hertz[1:] / hertz[:-1])).min() > 2.9
    assert hertz[-1] > 2 * hertz[0]


def test_sounds_have_the_promised_form():
    rng = np.random.default_rng(5)
    for _ in range(60):
        scene = sample_scene(rng)
        wave = render_audio(scene)
        assert wave.shape == (32000,) and wave.dtype == np.float32
        assert np.abs(wave).max() < 0.9
        assert np.abs(wave[-3:]).max() < 0.01
        assert (wave == render_audio(scene)).all()


def test_large_is_louder_and_longer_than_small():
    for seed in range(6):
        small, large = (quiet_scene(seed, size=s, motion="bounce") for s in ("small", "large"))
        assert large.voice.gain > 1.5 * small.voice.gain
        assert large.voice.decay > 2 * small.voice.decay
