"""The stage that adapts the image denoiser to clips: what is shown beside what is wanted, and what adapters become."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from codi.modalities.image.denoiser import ImageDenoiser, image_unet
from codi.training import painters
from codi.training.denoisers import UNTIMED
from codi.types import Denoised, Tokens

COUNT, STAR = 4, 3


@pytest.fixture
def scenes(monkeypatch):
    """Four scenes that show stars; frame f of scene n bears 16 n + f."""
    own = (np.arange(COUNT)[:, None] * 16 + np.arange(16)).astype(np.float16)
    store = np.tile(own[..., None, None, None], (12, 8, 8))
    monkeypatch.setattr(painters.latents, "load", lambda name: store)
    monkeypatch.setattr(painters.latents, "facts_table", lambda count: torch.full((count, 5), STAR))
    monkeypatch.setattr(painters.latents, "object_cells", lambda count: torch.ones(count, 16, 8, 8))

    def draw(facts, rng):
        return Tokens(torch.ones(len(facts), 1, 1), None, torch.zeros(len(facts), 1)), facts

    monkeypatch.setattr(painters.latents, "Prompts", lambda: SimpleNamespace(draw=draw))
    return painters.Scenes()


def number(latents):
    return latents[:, 0, 0, 0]


def test_drafts_stand_beside_their_own_frames_at_the_levels_they_were_left_at(scenes):
    rows = torch.tensor([2, 0, 3])
    frame = torch.arange(16).view(1, 1, 16, 1, 1).expand(3, 12, 16, 8, 8)
    left = torch.stack([16 * n + frame + 0.25 * torch.arange(1, 4).view(3, 1, 1, 1, 1) for n in rows])
    frames = painters.Drafts(scenes, rows, left).draw(np.random.default_rng(0), 400)
    off = number(frames.shown) - number(frames.wanted)
    assert (off >= 0).all() and (off <= 0.75).all()
    for k, (low, high) in enumerate(painters.SHOWN_AT):
        levels = frames.level[(off - 0.25 * (k + 1)).abs() < 1e-4]
        assert len(levels) > 40 and (levels >= low).all() and (levels <= high).all()
    assert 20 < (off == 0).sum() < 100


def test_drafts_are_what_the_transformer_estimates_along_the_grid():
    """A denoiser that always knows the noise is right at every level, whatever it starts from."""
    torch.manual_seed(0)
    clean, prompt = torch.randn(2, 12, 16, 8, 8), Tokens(torch.ones(2, 1, 1), None, torch.zeros(2, 1))
    seen = []

    def right(latent, level, prompt, clock):
        seen.append(float(level[0]))
        velocity = (latent - clean) / level.view(-1, 1, 1, 1, 1)
        return Denoised(velocity, torch.zeros(()))

    left = painters._drafted(right, clean, prompt, 2, 1.5)
    assert left.shape == (2, 3, 12, 16, 8, 8)
    assert torch.allclose(left.float(), clean[:, None].expand_as(left), atol=5e-3)
    assert sorted(set(seen), reverse=True) == pytest.approx(painters.GRID[2:].tolist())


def test_adapters_begin_as_nothing_go_on_from_a_file_and_end_in_the_weights(tmp_path):
    torch.manual_seed(0)
    unet = image_unet(widths=(16, 32))
    base = {name: weight.clone() for name, weight in unet.state_dict().items()}
    latent, level = torch.randn(2, 12, 8, 8), torch.tensor([0.2, 0.5])
    prompt = Tokens(torch.randn(2, 3, 256))

    def drawn():
        with torch.no_grad():
            return ImageDenoiser(unet)(latent, level, prompt, UNTIMED).sample

    before = drawn()
    painters.adapted(unet, 4)
    assert torch.equal(drawn(), before)
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    assert trained and sum(map(torch.numel, trained)) < 0.5 * sum(p.numel() for p in unet.parameters())
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.05 * torch.randn_like(parameter))
    with_adapters = drawn()
    assert not torch.allclose(with_adapters, before, atol=1e-3)
    unet.save_lora_adapter(tmp_path, weight_name="adapters.safetensors")
    again = image_unet(widths=(16, 32))
    again.load_state_dict(base)
    painters.adapted(again, 16, tmp_path / "adapters.safetensors")
    assert sum(p.numel() for p in again.parameters() if p.requires_grad) == sum(map(torch.numel, trained))
    with torch.no_grad():
        assert torch.equal(ImageDenoiser(again)(latent, level, prompt, UNTIMED).sample, with_adapters)
    painters.merged(unet)
    assert set(unet.state_dict()) == set(base)
    assert torch.allclose(drawn(), with_adapters, atol=1e-4)


class Painter:
    """Draws its prompt, which is what is wanted, and elsewhere than in the left half the same plus `off`."""

    def __init__(self, off):
        self.off = off

    def __call__(self, seen, level, prompt, clock):
        drawn = prompt.states.clone()
        drawn[..., 4:] += self.off
        return Denoised((seen - drawn) / level.view(-1, 1, 1, 1), torch.zeros(()))


def lost(painter, picture):
    """The losses where the object fills the left half, and the critic always misses two."""

    def draw(rng, count):
        torch.manual_seed(0)
        wanted, object_ = torch.randn(count, 12, 8, 8), torch.zeros(count, 1, 8, 8)
        object_[..., :4] = 1
        levels = torch.full((count,), 0.5)
        return painters.Frames(wanted, wanted, levels, Tokens(wanted), torch.zeros(count, 5), object_)

    critic = SimpleNamespace(error=lambda drawn, facts, events: torch.full((len(drawn),), 2.0))
    drafts = SimpleNamespace(draw=draw)
    return painters.Objective(painter, picture, drafts, critic, 0.5, 3.0).loss(np.random.default_rng(0), 8)


def test_beside_the_object_the_image_denoiser_is_kept():
    assert lost(Painter(0.7), Painter(0.7))["error"] < 1e-8
    assert lost(Painter(0.0), Painter(0.7))["error"].item() == pytest.approx(0.7**2 / (1 + 4), rel=1e-3)


def test_what_the_critic_misses_costs_even_where_nothing_else_does():
    assert lost(Painter(0.7), Painter(0.7))["loss"].item() == pytest.approx(0.5 * 2.0, abs=1e-5)
