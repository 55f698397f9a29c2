from __future__ import annotations

import math

import numpy as np
import pytest

from codi.evaluation import figures as fig

ALL = ("shape", "colour", "size", "motion", "tempo")


def test_adherence_counts_what_the_output_can_show():
    named = {"shape": "star", "colour": "red", "motion": "bounce"}
    assert fig.adherence(named, {"shape": "star", "colour": "blue"}, ("shape", "colour", "size")) == 0.5
    assert fig.adherence(named, {"shape": "star", "colour": "red"}, ALL) == pytest.approx(2 / 3)
    assert math.isnan(fig.adherence({"motion": "bounce"}, {}, ("shape",)))


def test_a_still_scene_owes_no_tempo():
    assert fig.adherence({"motion": "still", "tempo": "slow"}, {"motion": "still"}, ALL) == 1.0


def test_agreement_is_on_open_factors_and_an_omission_is_a_miss():
    a = {"shape": "star", "colour": "red", "size": "small", "motion": "pulse", "tempo": "slow"}
    b = {"shape": "heart", "colour": "red", "motion": "pulse", "tempo": "fast"}
    assert fig.agreements(a, b, ALL, ("shape",)) == {"colour": True, "size": False, "motion": True, "tempo": False}
    assert fig.agreement(a, b, ALL, ("shape",)) == 0.5
    assert fig.agreement({}, {}, ("shape",), ()) == 0.0
    assert math.isnan(fig.agreement(a, b, ALL, ALL))


def test_stillness_takes_the_tempo_out_of_agreement():
    assert "tempo" not in fig.agreements({"motion": "still"}, {"motion": "pulse", "tempo": "fast"}, ALL, ())


def test_synchrony_has_a_median_offset_in_milliseconds():
    a = np.array([0.25, 1.0])
    found = fig.synchrony([(a, a + 0.01), (a, a + 0.03), (a, a + 0.02)])
    assert found["event_f1"] == 1.0 and found["offset_ms"] == pytest.approx(20)
    assert fig.synchrony([(a, fig.shifted(a, 0.125))])["event_f1"] == 0.0


def test_shifted_events_leave_the_clip():
    assert fig.shifted(np.array([0.0, 1.9]), 0.125).tolist() == [0.125]


def test_normalised():
    assert fig.normalised(0.6, 0.2, 1.0) == pytest.approx(0.5)
    assert math.isnan(fig.normalised(1.0, 1.0, 1.0))


def test_entropy_of_collapse_and_of_balance():
    assert fig.entropy(["red"] * 9, 6) == 0.0
    assert fig.entropy(["red", "blue"] * 5, 2) == pytest.approx(1.0)
    assert math.isnan(fig.entropy([], 6))


def test_frechet_distance_of_gaussians():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 3))
    assert fig.frechet(x, x) == pytest.approx(0, abs=1e-6)
    assert fig.frechet(x, x + np.array([3.0, 0, 0])) == pytest.approx(9, abs=1e-6)
    assert fig.frechet(x, 2 * x) == pytest.approx(3, rel=0.1)  # (2 - 1)^2 in each of 3 dimensions
    assert np.isfinite(fig.frechet(x[:2], x))


def test_a_difference_of_frechet_distances_is_as_sure_as_the_prompts_are_many():
    rng = np.random.default_rng(0)
    x, prompts = rng.normal(size=(64, 3)), [k // 4 for k in range(64)]

    def difference(a, b, groups=prompts):
        return fig.frechet_difference(a, b, x, groups, np.random.default_rng(1), draws=100)

    assert difference(x, x) == (0.0, 0.0, 0.0)
    far, low, high = difference(x + np.array([3.0, 0, 0]), x)
    assert far == pytest.approx(9, abs=1e-6) and 0 < low < far < high
    assert difference(x, x + np.array([3.0, 0, 0]))[0] == -far
    one = np.where(np.arange(64)[:, None] < 4, x + 6, x)  # a single prompt's samples are off: chance may leave it out
    assert difference(one, x)[1] <= 0 < difference(one, x, list(range(64)))[1]


def test_shuffled_pairs_stay_in_their_group_and_never_pair_a_sample_with_itself():
    groups = ["a"] * 5 + ["b"] * 3 + ["alone"]
    pairs = fig.shuffled(groups, np.random.default_rng(0))
    assert len(pairs) == 8
    assert all(i != j and groups[i] == groups[j] for i, j in pairs)
    assert sorted(i for i, _ in pairs) == sorted(j for _, j in pairs) == list(range(8))


def test_intervals_hold_the_mean_and_pairing_narrows_them():
    rng = np.random.default_rng(0)
    base = rng.random(80)
    low, high = fig.interval(base.tolist(), rng)
    assert low < base.mean() < high
    difference, lower, upper = fig.paired_difference(base + 0.1, base, rng)
    assert difference == pytest.approx(0.1) and upper - lower < 0.01 < high - low


def test_values_that_do_not_apply_are_left_out():
    assert fig.mean([1.0, float("nan"), 0.0]) == 0.5
    assert math.isnan(fig.mean([]))
    difference, _, _ = fig.paired_difference([1.0, float("nan")], [0.5, 1.0], np.random.default_rng(0))
    assert difference == 0.5
