"""What the denoiser stages draw, weigh and judge."""

from __future__ import annotations

import pytest
import torch

from codi.training.critic import ClipCritic, PictureCritic, SoundCritic
from codi.training.denoisers import Sample, draw_levels, focus, judged, known, noised


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


def test_nothing_is_weighed_or_judged_where_the_network_cannot_know():
    assert known(torch.tensor([0.0, 0.5, 0.85, 1.0]), 0.85).tolist() == [1, 1, 0, 0]
    sample = Sample(torch.randn(2, 12, 8, 8), torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 1, 8, 8))
    sure = torch.tensor([1.0, 0.0])
    weights = focus(sample, sure, gain=3.0)
    assert (weights[0] == 4).all() and (weights[1] == 1).all()
    wrong = judged(PictureCritic(), sample.clean, sample, sure)
    assert wrong[0] > 0 and wrong[1] == 0


@pytest.mark.parametrize(
    ("critic", "shape"),
    [
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
