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
def test_the_transformer_decides_near_the_noise_and_the_image_denoiser_draws_near_the_picture(transformer):
    latent, prompt, clock = clip()
    unet = image_unet(widths=(16, 32)).eval()
    both, alone, painter = VideoDenoiser(transformer, unet), VideoDenoiser(transformer), ImageDenoiser(unet)
    high, low, between = (torch.full((2,), level) for level in (DECIDED, DRAWN, (DRAWN + DECIDED) / 2))
    assert torch.equal(both(latent, high, prompt, clock).sample, alone(latent, high, prompt, clock).sample)
    drawn = both(latent, low, prompt, clock).sample
    no_time = torch.tensor([torch.nan], dtype=torch.float64)
    for frame in range(latent.shape[2]):
        picture = painter(latent[:, :, frame], low, prompt, no_time).sample
        torch.testing.assert_close(drawn[:, :, frame], picture, atol=1e-4, rtol=1e-4)
    mixed = both(latent, between, prompt, clock).sample
    assert not torch.allclose(mixed, alone(latent, between, prompt, clock).sample, atol=1e-3)


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
