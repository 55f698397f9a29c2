from __future__ import annotations

import numpy as np
import pytest

from codi.types import InputError
from codi.worlds.sounding_shapes import FACTORS, HELD_OUT, sample_scene
from codi.worlds.sounding_shapes.factors import FRAMES, INTERVALS


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(3)
    return [sample_scene(rng) for _ in range(1500)]


def test_held_out_pairs_are_one_for_each_shape_and_colour():
    assert {s for s, _ in HELD_OUT} == set(FACTORS["shape"])
    assert {c for _, c in HELD_OUT} == set(FACTORS["colour"])
    assert len(HELD_OUT) == 6


def test_training_never_sees_a_held_out_pair(scenes):
    pairs = {(s.shape, s.colour) for s in scenes}
    assert not pairs & HELD_OUT
    assert len(pairs) == 30


def test_the_held_out_split_holds_nothing_else():
    rng = np.random.default_rng(0)
    assert {(s.shape, s.colour) for s in (sample_scene(rng, "held_out") for _ in range(200))} == HELD_OUT


def test_intervals_belong_to_the_tempo_and_are_jittered(scenes):
    seen: dict[str, set[int]] = {}
    for scene in scenes:
        if scene.tempo is not None:
            intervals = np.diff([scene.before, *scene.event_frames, scene.after])
            seen.setdefault(scene.tempo, set()).update(int(i) for i in intervals)
    assert seen == {tempo: set(range(low, high + 1)) for tempo, (low, high) in INTERVALS.items()}


def test_every_event_of_the_clip_is_listed(scenes):
    for scene in scenes:
        assert len(scene.event_frames) >= 1
        assert scene.before < 0 <= scene.event_frames[0] <= scene.event_frames[-1] < FRAMES <= scene.after


def test_a_still_scene_has_no_tempo_and_one_event_at_the_start(scenes):
    still = [s for s in scenes if s.motion == "still"]
    assert still
    assert all("tempo" not in s.factors and s.event_frames == (0,) for s in still)


def test_the_first_event_is_uniform_within_the_first_interval():
    rng = np.random.default_rng(1)
    firsts = [sample_scene(rng, motion="slide", tempo="fast").event_frames[0] for _ in range(2000)]
    counts = np.bincount(firsts, minlength=5)
    assert counts[:4].min() > 0.8 * counts[:4].max()  # frames 0 to 3 are in both intervals, 4 and 5
    assert 0 < counts[4] < counts[:4].min()


def test_fixed_factors_hold_and_the_same_seed_gives_the_same_scene():
    fixed = {"shape": "star", "colour": "red", "size": "small", "motion": "pulse", "tempo": "slow"}
    scene = sample_scene(np.random.default_rng(5), **fixed)
    assert scene.factors == fixed
    assert scene == sample_scene(np.random.default_rng(5), **fixed)


def test_a_fixed_tempo_rules_out_stillness():
    rng = np.random.default_rng(0)
    assert {sample_scene(rng, tempo="slow").motion for _ in range(80)} == {"bounce", "slide", "pulse"}


@pytest.mark.parametrize(
    ("split", "fixed", "names"),
    [
        ("train", {"colour": "teal"}, "colour"),
        ("train", {"weight": "heavy"}, "weight"),
        ("train", {"motion": "still", "tempo": "fast"}, "tempo"),
        ("train", {"shape": "circle", "colour": "purple"}, "split"),
        ("held_out", {"shape": "circle", "colour": "red"}, "split"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(split, fixed, names):
    with pytest.raises(InputError, match=f"^{names}: "):
        sample_scene(np.random.default_rng(0), split, **fixed)
