"""Bridges on the denoisers: zero at the start, no trace after they are ejected, a clock in seconds."""

from __future__ import annotations

import pytest
import torch

from codi.backbones.codi_mini import coupling
from codi.bridge import REACH, Bridge, gather, nearness, rotate
from codi.environment import EnvironmentEncoder
from codi.modalities.audio.denoiser import audio_unet
from codi.modalities.image.denoiser import image_unet
from codi.modalities.text.denoiser import TextTransformer
from codi.modality import registry
from codi.networks.clip_transformer import ClipTransformer
from codi.port import Port, cross_attentions
from codi.types import ClipSpec, Tokens

WIDTHS = (16, 32)


@pytest.fixture
def parts():
    torch.manual_seed(0)
    bases = {
        "image_denoiser": image_unet(widths=WIDTHS),
        "audio_denoiser": audio_unet(widths=WIDTHS),
        "text_denoiser": TextTransformer(width=32, layers=2),
        "video_denoiser": ClipTransformer(width=32, layers=3, heads=2),
    }
    torch.nn.init.normal_(bases["video_denoiser"].leave.weight)  # zero at the start, it hides what is read
    return bases | coupling(*bases.values())


def passes(engine, partners: Tokens | None) -> torch.Tensor:
    torch.manual_seed(1)
    clip = ClipSpec()
    latent = torch.randn(2, *engine.latent_shape(clip))
    prompt = Tokens(torch.randn(2, 8, 256))
    return engine.denoiser(latent, torch.tensor([0.9, 0.2]), prompt, engine.clock(clip), partners).sample


@pytest.mark.parametrize("path", ["to_out", "to_add", "dense.2"])
@pytest.mark.parametrize("name", list(registry()))
def test_a_fresh_bridge_changes_nothing_and_any_path_of_a_trained_one_does(parts, name, path):
    engine = registry()[name].engine()(parts)
    tokens = Tokens(torch.randn(2, 5, 192), torch.tensor([0.1, 0.5, 1.0, 1.5, torch.nan], dtype=torch.float64))
    with torch.no_grad():
        alone, bridged = passes(engine, None), passes(engine, tokens)
        assert torch.equal(alone, bridged)
        for reader in parts[f"{name}_bridge"].readers.values():
            torch.nn.init.normal_(reader.get_submodule(path).weight)
        assert not torch.allclose(alone, passes(engine, tokens), atol=1e-4)


@pytest.mark.parametrize("build", [lambda: image_unet(widths=WIDTHS), lambda: TextTransformer(width=32)])
def test_a_pass_leaves_no_trace_in_the_model_even_if_it_fails(build):
    model = build()
    processors = {name: attention.processor for name, attention in cross_attentions(model)}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    port = Port(model, Bridge({name: attention.query_dim for name, attention in cross_attentions(model)}))
    with (
        pytest.raises(RuntimeError, match="mid-pass"),
        port.reading(Tokens(torch.zeros(1, 8, 256)), None, lambda n: None),
    ):
        assert model.state_dict().keys() == state.keys()
        assert all(attention.processor is not processors[name] for name, attention in cross_attentions(model))
        raise RuntimeError("mid-pass")
    assert all(attention.processor is processors[name] for name, attention in cross_attentions(model))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_the_clock_depends_on_differences_of_seconds_alone():
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 3, 16), torch.randn(1, 1, 4, 16)
    at, other = torch.rand(3, dtype=torch.float64), torch.rand(4, dtype=torch.float64)

    def scores(shift: float) -> torch.Tensor:
        return rotate(query, at + shift) @ rotate(key, other + shift).transpose(-1, -2)

    assert torch.allclose(scores(0.0), scores(3.7), atol=1e-4)
    moved = rotate(query, at) @ rotate(key, other + 0.1).transpose(-1, -2)
    assert not torch.allclose(scores(0.0), moved, atol=1e-2)


def test_a_global_token_is_not_one_at_time_zero():
    key = torch.randn(1, 1, 1, 16)
    zero, nowhere = (rotate(key, torch.tensor([t], dtype=torch.float64)) for t in (0.0, torch.nan))
    assert torch.equal(zero, key)
    assert torch.equal(nowhere[..., 8:], key[..., 8:])
    assert not nowhere[..., :8].any()


def test_partners_are_one_sequence_with_their_times():
    def tokens(count: int) -> Tokens:
        return Tokens(torch.zeros(1, count, 4), torch.arange(count, dtype=torch.float64))

    together = gather({"a": tokens(2), "b": tokens(3)})
    assert together is not None and together.times is not None
    assert together.states.shape == (1, 5, 4)
    assert together.times.tolist() == [0, 1, 0, 1, 2]
    assert together.parts == (2, 3)
    assert gather({}) is None


def seconds(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_what_is_added_is_of_the_same_moment_whatever_the_partners_rate():
    for rate in (6, 8, 12):
        moments = (torch.arange(2 * rate, dtype=torch.float64) + 0.5) / rate
        near = nearness(seconds(0.7, 1.3), moments, (len(moments),))
        assert torch.allclose(near.sum(1), torch.ones(2, dtype=torch.float64), atol=1e-3)
        assert torch.allclose(near @ moments, seconds(0.7, 1.3), atol=0.02)


def test_what_is_added_of_one_partner_does_not_depend_on_the_others():
    one, other = seconds(0.1, 0.3), seconds(0.2, torch.nan, 0.25)
    alone = nearness(seconds(0.2, torch.nan), one, (2,))
    both = nearness(seconds(0.2, torch.nan), torch.cat([one, other]), (2, 3))
    assert torch.equal(both[:, :2], alone)


def test_what_has_no_time_is_at_every_moment_and_a_picture_at_an_instant_there_alone():
    near = nearness(seconds(0.5, 0.5 + 2 * REACH, torch.nan), seconds(torch.nan, 0.5), (1, 1))
    assert torch.allclose(near[:, 0], torch.ones(3, dtype=torch.float64), atol=1e-3)
    assert near[:, 1].round(decimals=3).tolist() == [1, 0, 1]


def test_sites_of_one_clock_share_what_is_near_and_those_of_another_do_not():
    torch.manual_seed(0)
    bridge = Bridge({"a": 4, "b": 4}, width=8)
    tokens = bridge.prepare(Tokens(torch.randn(1, 2, 8), seconds(0.2, 1.0)))
    early, late = seconds(0.2), seconds(1.0)
    assert tokens.near(early) is tokens.near(early)
    assert not torch.allclose(tokens.near(early), tokens.near(late))
    torch.testing.assert_close(tokens.near(late), tokens.added[:, 1:], atol=1e-2, rtol=1e-2)


def test_eyes_see_across_the_quarters_of_a_picture_and_never_across_pictures():
    torch.manual_seed(0)
    encoder = EnvironmentEncoder(5 + 3 * 16, slots=4, cell_channels=3)
    assert encoder.eyes is not None
    torch.nn.init.normal_(encoder.eyes.leave.weight)
    features = torch.randn(2, 8, 5 + 3 * 16)  # two pictures of four quarters
    moved = features.clone()
    moved[:, 0, -1] += 1
    with torch.no_grad():
        level = torch.full((2,), 0.5)
        changed = (encoder(moved, level) - encoder(features, level)).abs().amax(-1)
    assert (changed[:, :4] > 1e-4).all() and not changed[:, 4:].any()
