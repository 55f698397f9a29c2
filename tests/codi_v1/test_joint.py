"""Joint generation in both modes: what may depend on what, and what is taken once."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
import torch

from codi.backbones.codi_v1.layers import OneTokenAttention
from codi.backbones.codi_v1.pipeline import JointGuidance
from codi.modality import registry
from codi.types import InputError, Part

NAMES = tuple(registry())
PAIRS = [pair for pair in itertools.permutations(NAMES, 2)]
SMALL = {"num_inference_steps": 2, "duration": 0.64, "size": 16, "fps": 5.0, "seed": 3}


def latents(pipe, **options) -> dict[str, torch.Tensor]:
    """The last latents of a call."""
    kept: dict[str, torch.Tensor] = {}
    options = {"inputs": "a ball"} | options
    pipe(callback_on_step_end=lambda _, __, made: kept.update(made), **SMALL | options)
    return kept


@pytest.fixture(scope="module")
def together(pipes):
    """Latents of a mode's outputs by the set that they were made in; each set is made once."""

    @cache
    def made(mode: str, names: frozenset[str]) -> dict[str, torch.Tensor]:
        return latents(pipes[mode], outputs=sorted(names))

    return lambda mode, *names: made(mode, frozenset(names))


@pytest.mark.parametrize(("reader", "partner"), PAIRS)
def test_in_official_mode_an_output_does_not_change_when_its_partner_does(together, reader, partner):
    with_partner = together("official", reader, partner)[reader]
    for other in set(NAMES) - {reader, partner}:
        assert torch.equal(with_partner, together("official", reader, other)[reader])
    assert torch.equal(with_partner, together("official", *NAMES)[reader])


@pytest.mark.parametrize(("reader", "partner"), PAIRS)
def test_in_partner_mode_it_does(together, reader, partner):
    with_partner = together("partner", reader, partner)[reader]
    for other in set(NAMES) - {reader, partner}:
        assert not torch.allclose(with_partner, together("partner", reader, other)[reader], atol=1e-5)
    assert not torch.allclose(with_partner, together("partner", *NAMES)[reader], atol=1e-5)


@pytest.mark.parametrize("mode", ["official", "partner"])
def test_bridge_0_is_solo_generation_and_joint_is_not(pipes, mode):
    solo = latents(pipes[mode], outputs=["image"])["image"]
    off = latents(pipes[mode], outputs=["image", "audio"], bridge_scale=0)["image"]
    assert torch.equal(solo, off)
    assert not torch.allclose(solo, latents(pipes[mode], outputs=["image", "audio"])["image"], atol=1e-5)


def test_the_modes_differ_in_the_skip_alone_where_nothing_is_read(pipes):
    official, partner = (latents(pipes[mode], outputs=["audio"])["audio"] for mode in ("official", "partner"))
    assert not torch.allclose(official, partner, atol=1e-5)


def test_in_partner_mode_an_output_follows_a_given_and_official_mode_refuses_it(pipes):
    one, two = (
        latents(pipes["partner"], given={"text": text}, outputs=["image"])["image"] for text in ("red", "7 stars")
    )
    assert not torch.allclose(one, two, atol=1e-6)
    with pytest.raises(InputError, match="official mode"):
        latents(pipes["official"], given={"text": "red"}, outputs=["image"])


def test_guidance_is_two_passes_joint_or_alone():
    scales = JointGuidance()
    for partners in (True, False):
        terms = scales.terms(partners)
        assert [(term.prompted, term.weight) for term in terms] == [(False, -6.5), (True, 7.5)]
        assert all(term.bridged is partners for term in terms)
    half = JointGuidance(bridge=0.5).terms(True)
    assert len(half) == 4 and sum(term.weight for term in half) == pytest.approx(1.0)


def test_a_prompt_s_cross_attention_is_computed_once(pipes, monkeypatch):
    pipe, counted = pipes["official"], []
    attentions = [m for m in pipe.image_denoiser.modules() if isinstance(m, OneTokenAttention)]
    for attention in attentions:
        forward = attention.to_v.forward
        monkeypatch.setattr(attention.to_v, "forward", lambda x, f=forward: counted.extend(x) or f(x))
    latents(pipe, outputs=["image"], num_inference_steps=5)
    # Once for the prompt and once for the null prompt, whatever the steps.
    assert attentions and len(counted) == 2 * len(attentions)


def test_dead_projections_are_not_in_the_bundle(pipes):
    for mode, pipe in pipes.items():
        for name in ("image_denoiser", "text_denoiser", "audio_denoiser"):
            keys = getattr(pipe, name).state_dict()
            assert any("attn2.to_v" in key for key in keys)
            assert not any(
                dead in key for key in keys for dead in ("attn2.to_q", "attn2.to_k", "transformer_blocks.0.norm2")
            )
        assert any("attn2.to_q" in key for key in pipe.image_readers.state_dict()) is (mode == "partner")


def test_a_sample_of_a_batch_is_the_same_seed_alone_and_inputs_weigh(pipes):
    pipe = pipes["official"]
    batch = latents(pipe, outputs=["audio"], num_outputs_per_prompt=2)["audio"]
    alone = latents(pipe, outputs=["audio"], seed=4)["audio"]
    assert torch.allclose(batch[1], alone[0], atol=1e-4)


def test_an_output_may_begin_from_a_picture_in_official_mode_too(pipes):
    pictures = [np.full((16, 16, 3), grey, np.uint8) for grey in (0, 255)]
    asked = {"outputs": ["image"], "num_inference_steps": 4}
    made = [latents(pipes["official"], **asked, given={"image": Part(p, strength=0.5)})["image"] for p in pictures]
    assert not torch.allclose(made[0], made[1], atol=1e-3)
