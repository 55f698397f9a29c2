"""The stage that trains the picture decoder on: what may move, and what is shown beside what."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from codi.networks.patch_autoencoder import PatchAutoencoder
from codi.training import decoders
from codi.types import Tokens


def test_what_learns_is_all_that_decodes_and_nothing_that_encodes():
    torch.manual_seed(0)
    model, picture = PatchAutoencoder(widths=(16, 16)).eval(), torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        latent = model.encode(picture)
        drawn = model.decode(latent)
        for name, parameter in model.named_parameters():
            if name.startswith(decoders.LEARN):
                parameter.add_(0.1 * torch.randn_like(parameter))
        assert torch.equal(model.encode(picture), latent) and not torch.allclose(model.decode(latent), drawn)
        drawn = model.decode(latent)
        for name, parameter in model.named_parameters():
            if not name.startswith(decoders.LEARN):
                parameter.add_(0.1 * torch.randn_like(parameter))
        assert torch.equal(model.decode(latent), drawn) and not torch.allclose(model.encode(picture), latent)


@pytest.fixture
def leavings(monkeypatch):
    """Three clips whose latents and frames bear the same numbers, before denoisers that say nothing."""
    store = (np.arange(3)[:, None] * 16 + np.arange(16)).astype(np.float16)
    said = lambda latent, *_: SimpleNamespace(sample=torch.zeros_like(latent))  # noqa: E731
    frames = lambda row: np.broadcast_to(store[row][:, None, None, None], (16, 64, 64, 3)).astype(np.uint8)  # noqa: E731
    words = SimpleNamespace(draw=lambda facts, rng: (Tokens(torch.zeros(len(facts), 1, 1)), facts))
    monkeypatch.setattr(decoders.latents, "load", lambda name: np.tile(store[..., None, None, None], (12, 8, 8)))
    monkeypatch.setattr(decoders.latents, "facts_table", lambda count: torch.zeros(count, 5))
    monkeypatch.setattr(decoders.latents, "Prompts", lambda: words)
    monkeypatch.setattr(decoders, "ImageDenoiser", lambda unet: said)
    monkeypatch.setattr(decoders, "VideoDenoiser", lambda transformer: said)
    monkeypatch.setattr(decoders, "_clip", frames)
    parts = {"image_denoiser": None, "video_denoiser": None}
    return lambda highest: decoders.Leavings(parts, OmegaConf.create({"image": highest, "video": highest}))


@pytest.mark.parametrize("kind", ["of_clips", "of_pictures"])
def test_each_latent_stands_beside_its_own_frame(leavings, kind):
    left, pictures = getattr(leavings(0.0), kind)(np.random.default_rng(0), 32)
    assert left.shape == (32, 12, 8, 8) and pictures.shape == (32, 3, 64, 64)
    assert torch.allclose((pictures[:, 0, 0, 0] + 1) * 127.5, left[:, 0, 0, 0], atol=1e-3)
    assert len(left[:, 0, 0, 0].unique()) > 8


def test_scenes_are_noised_up_to_the_level_that_the_settings_name(leavings):
    torch.manual_seed(0)
    left, pictures = leavings(0.6).of_pictures(np.random.default_rng(0), 32)
    clean = ((pictures[:, 0, 0, 0] + 1) * 127.5).view(-1, 1, 1, 1)
    kept = (left / clean.clamp_min(1)).flatten(1).mean(1)[clean.flatten() > 8]
    assert kept.min() > 0.3 and kept.max() < 1.05 and kept.std() > 0.05
