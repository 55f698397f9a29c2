"""The video denoiser: a transformer near the noise, the image denoiser near the picture, time in seconds."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from codi.attention import attend
from codi.modalities.image.denoiser import ImageDenoiser, image_unet
from codi.modalities.video.denoiser import DECIDED, DRAWN, VideoDenoiser
from codi.networks.clip_transformer import ClipTransformer
from codi.types import Tokens


@pytest.fixture
def transformer() -> ClipTransformer:
    torch.manual_seed(0)
    model = ClipTransformer(width=32, layers=3, heads=2).eval().requires_grad_(False)
    torch.nn.init.normal_(model.leave.weight)
    return model


def clip(frames: int = 6) -> tuple[torch.Tensor, Tokens, torch.Tensor]:
    torch.manual_seed(1)
    clock = (torch.arange(frames, dtype=torch.float64) + 0.5) / 8
    return torch.randn(2, 12, frames, 8, 8), Tokens(torch.randn(2, 8, 256)), clock


@torch.no_grad()
def test_the_transformer_decides_near_the_noise_and_the_painter_draws_near_the_picture(transformer):
    latent, prompt, clock = clip()
    both, alone = VideoDenoiser(transformer, image_unet(widths=(16, 32)).eval()), VideoDenoiser(transformer)
    high, low, between = (torch.full((2,), level) for level in (DECIDED, DRAWN, (DRAWN + DECIDED) / 2))
    decided, drawn, mixed = (both(latent, level, prompt, clock).sample for level in (high, low, between))
    assert torch.equal(decided, alone(latent, high, prompt, clock).sample)
    for level, sample in ((low, drawn), (between, mixed)):
        assert not torch.allclose(sample, alone(latent, level, prompt, clock).sample, atol=1e-3)


@torch.no_grad()
def test_what_the_transformer_sees_stand_still_is_drawn_the_same_in_all_frames(transformer, monkeypatch):
    noise, prompt, clock = clip()
    still = torch.randn(2, 12, 1, 8, 8).expand_as(noise)
    latent, low = (1 - DRAWN) * still + DRAWN * noise, torch.full((2,), DRAWN)
    unet = image_unet(widths=(16, 32)).eval()
    both = VideoDenoiser(transformer, unet)
    monkeypatch.setattr(transformer, "forward", lambda *_: (noise - still, torch.zeros(2, latent.shape[2], 2, 2, 32)))
    drawn = latent - DRAWN * both(latent, low, prompt, clock).sample
    torch.testing.assert_close(drawn, drawn[:, :, :1].expand_as(drawn), atol=1e-4, rtol=1e-4)
    no_time = torch.tensor([torch.nan], dtype=torch.float64)
    first = latent[:, :, 0] - DRAWN * ImageDenoiser(unet)(latent[:, :, 0], low, prompt, no_time).sample
    torch.testing.assert_close(drawn[:, :, 0], first, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_only_what_is_asked_for_is_computed(transformer, monkeypatch):
    latent, prompt, clock = clip()
    drawn: list[int] = []
    both = VideoDenoiser(transformer, image_unet(widths=(16, 32)).eval())
    monkeypatch.setattr(both, "_drawn", lambda *_: drawn.append(1) or latent)
    given = both(latent, torch.zeros(2), prompt, clock)
    assert given.features.shape[:2] == (2, 4 * latent.shape[2]) and not drawn
    assert given.sample is given.sample and len(drawn) == 1


@torch.no_grad()
def test_a_clip_depends_on_differences_of_seconds_and_on_nothing_else_of_the_clock(transformer):
    latent, prompt, clock = clip()
    timestep = torch.full((2,), 900.0)
    here, later, slower = (transformer(latent, timestep, prompt.states, t)[0] for t in (clock, clock + 3, 2 * clock))
    torch.testing.assert_close(here, later, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(here, slower, atol=1e-2)


@torch.no_grad()
def test_every_frame_sees_every_other(transformer):
    latent, prompt, clock = clip()
    timestep = torch.full((2,), 900.0)
    moved = latent.clone()
    moved[:, :, 5] += 1
    first, second = (transformer(x, timestep, prompt.states, clock)[0][:, :, 0] for x in (latent, moved))
    assert not torch.allclose(first, second, atol=1e-4)


@torch.no_grad()
def test_an_untrained_transformer_says_the_least_it_can_be_wrong_by():
    latent, prompt, clock = clip()
    for level in (0.0, 0.3, 0.9, 1.0):
        # With nothing known, x0 is best guessed as (1 - s) / ((1 - s)^2 + s^2) z: EDM's skip.
        velocity, _ = ClipTransformer(width=32, layers=2, heads=2)(
            latent, torch.full((2,), 1000 * level), prompt.states, clock
        )
        guess = (1 - level) / ((1 - level) ** 2 + level**2) * latent
        torch.testing.assert_close(latent - level * velocity, guess, atol=1e-4, rtol=1e-4)


def test_attention_written_out_is_the_fused_kernels():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 8, dtype=torch.bfloat16) for _ in range(3))
    bias = torch.zeros(2, 1, 1, 5, dtype=torch.bfloat16)
    bias[..., 4] = -torch.inf
    fused = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    torch.testing.assert_close(attend(query.requires_grad_(), key, value, bias), fused, atol=2e-2, rtol=2e-2)
