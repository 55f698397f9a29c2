"""What the denoiser stages draw, weigh and judge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from einops import rearrange, repeat

from codi.training.critic import ClipCritic, PictureCritic, SoundCritic, TextCritic
from codi.training.denoisers import ASTRAY, Sample, astray, focus, judged, marked
from codi.training.latents import detuned, scene_at, tinted
from codi.training.levels import draw_levels, known, noised
from codi.training.telling import Told
from codi.types import Tokens
from codi.worlds.sounding_shapes.scene import HUES
from codi.worlds.sounding_shapes.sound import PITCHES


def test_levels_are_levels_and_crowd_towards_the_noise_with_the_shift():
    torch.manual_seed(0)
    flat, shifted = (draw_levels(4000, shift, uniform=0.1) for shift in (1.0, 6.0))
    assert flat.min() >= 0 and shifted.max() <= 1
    assert abs(float(flat.mean()) - 0.5) < 0.03 and float(shifted.mean()) > 0.7


def test_level_zero_is_clean_level_one_is_noise_and_the_velocity_joins_them():
    clean = torch.randn(3, 4, 2, 2)
    for level in (0.0, 0.3, 1.0):
        noisy, velocity = noised(clean, torch.full((3,), level))
        torch.testing.assert_close(noisy - level * velocity, clean)
        torch.testing.assert_close(noisy, clean) if level == 0 else None
        torch.testing.assert_close(noisy, clean + velocity) if level == 1 else None


def test_the_velocity_leads_from_what_went_astray_to_what_is_clean():
    clean, stray = torch.randn(2, 3, 4, 2, 2).unbind()
    level = torch.tensor([0.2, 0.5, 0.9])
    noisy, velocity = noised(clean, level, begin=stray)
    torch.testing.assert_close(noisy - level.view(-1, 1, 1, 1) * velocity, clean)
    torch.manual_seed(0)
    noise = torch.randn_like(clean)
    torch.manual_seed(0)
    noisy, _ = noised(clean, level, begin=stray)
    torch.testing.assert_close(noisy, stray + level.view(-1, 1, 1, 1) * (noise - stray))


def test_strays_stand_first_at_levels_where_they_show_and_late_turns_count_less():
    torch.manual_seed(0)
    clean, facts = torch.zeros(400, 1, 1, 1), torch.zeros(400, 5, dtype=torch.long)
    sample = Sample(clean, facts, stray=torch.ones(100, 1, 1, 1))
    begin, level, weight = astray(sample, torch.full((400,), 0.95))
    assert begin.flatten().tolist() == [1.0] * 100 + [0.0] * 300
    assert (level[100:] == 0.95).all() and (weight[100:] == 1).all()
    assert ASTRAY[0] <= level[:100].min() < 0.2 and 0.6 < level[:100].max() <= ASTRAY[1]
    late = level[:100] < 0.3
    assert weight[:100][late].max() < 1 and (weight[:100][level[:100] > 0.35] == 1).all()


def test_nothing_is_weighed_or_judged_where_the_network_cannot_know():
    assert known(torch.tensor([0.0, 0.5, 0.85, 1.0]), 0.85).tolist() == [1, 1, 0, 0]
    sample = Sample(torch.randn(2, 12, 8, 8), torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 1, 8, 8))
    sure = torch.tensor([1.0, 0.0])
    weights = focus(sample, sure, gain=3.0)
    assert (weights[0] == 4).all() and (weights[1] == 1).all()
    nothing = torch.full((2, 5), -1)
    wrong = judged(PictureCritic(), sample.clean, sample, nothing, sure, sure)
    assert wrong[0] > 0 and wrong[1] == 0


def test_what_a_prompt_names_is_asked_for_where_the_latent_does_not_show_it():
    torch.manual_seed(0)
    sample = Sample(torch.randn(3, 12, 8, 8), torch.zeros(3, 5, dtype=torch.long))
    named = torch.full((3, 5), -1)
    named[1, 1] = 0
    sure, asked = torch.zeros(3), torch.tensor([1.0, 1.0, 0.0])
    wrong = judged(PictureCritic(), sample.clean, sample, named, sure, asked)
    assert wrong[0] == 0 and wrong[1] > 0 and wrong[2] == 0
    clip = Sample(torch.randn(1, 12, 16, 8, 8), torch.zeros(1, 5, dtype=torch.long), events=torch.ones(1, 16))
    unnamed = judged(ClipCritic(width=16), clip.clean, clip, torch.full((1, 5), -1), torch.zeros(1), torch.ones(1))
    assert unnamed == 0  # no prompt names events


def test_features_learn_to_tell_where_and_when():
    torch.manual_seed(0)
    told = Told(width=32)
    cells, events = (torch.rand(4, 1, 16, 8, 8) < 0.3).float(), (torch.rand(4, 16) < 0.2).float()
    features = rearrange(cells, "b 1 f (h p) (w q) -> b (f h w) (p q)", h=2, w=2)
    features = torch.cat([features, repeat(events, "b f -> b (f s) 1", s=4), torch.zeros(4, 64, 40)], dim=-1)
    optimizer = torch.optim.Adam(told.parameters(), 1e-2)
    first = told(features, cells, events)
    for _ in range(150):
        loss = told(features, cells, events)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2 * first
    assert told(features, cells.flip(0), events.flip(0)) > 3 * loss


def test_a_detuned_sound_lies_between_the_notes_and_is_of_no_colour():
    for index in range(40):
        scene = detuned(scene_at(index))
        pitch = PITCHES[scene.colour] * 2 ** (scene.voice.detune / 12)
        assert min(abs(12 * np.log2(pitch / note)) for note in PITCHES.values()) > 0.79
        assert scene.shape == scene_at(index).shape and scene.event_frames == scene_at(index).event_frames
    assert detuned(scene_at(3)) == detuned(scene_at(3))


def test_a_tinted_object_lies_between_two_colours_next_to_its_own():
    for index in range(60):
        scene, own = tinted(scene_at(index)), scene_at(index)
        away = {name: _degrees(scene.look.hue, *span) for name, span in HUES.items()}
        assert min(away.values()) == away[own.colour]
        assert away[own.colour] > 0 or own.look.hue in HUES[own.colour]
        assert scene.factors == own.factors and scene.event_frames == own.event_frames
    assert tinted(scene_at(3)) == tinted(scene_at(3))


def _degrees(hue: float, low: float, high: float) -> float:
    """How far a hue is from a range of hues, around the circle."""
    return 0.0 if (hue - low) % 360 <= high - low else min((low - hue) % 360, (hue - high) % 360)


@pytest.mark.parametrize(
    ("critic", "shape"),
    [
        (TextCritic(width=16), (8, 8, 16)),
        (PictureCritic(width=16), (8, 12, 8, 8)),
        (ClipCritic(width=16), (8, 12, 16, 8, 8)),
        (SoundCritic(width=16), (8, 16, 4, 32)),
    ],
)
def test_a_critic_learns_to_tell_true_facts_from_false_ones(critic, shape):
    torch.manual_seed(0)
    latents, facts = torch.randn(shape), torch.stack([torch.arange(8) % n for n in (6, 6, 2, 4, 3)], dim=1)
    events = (torch.rand(8, 16) < 0.2).float()
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    for _ in range(80):
        loss = critic.error(latents, facts, events).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert min(critic.accuracy(latents, facts, events).values()) > 0.9
    with torch.no_grad():
        assert critic.error(latents, facts.roll(1, 0), events.roll(1, 0)).mean() > 2 * loss


def test_what_is_strange_has_a_token_that_nothing_else_sees():
    prompt = Tokens(torch.randn(2, 4, 8), None, torch.zeros(2, 4))
    told = marked(prompt, torch.tensor([True, False]))
    assert torch.equal(told.states[:, :4], prompt.states) and told.bias.shape == (2, 5)
    assert told.bias[0].isfinite().all() and told.bias[1, 4] == -torch.inf
    assert marked(prompt, None) is prompt
