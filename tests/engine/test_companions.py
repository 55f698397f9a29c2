"""What is made along with outputs, and not returned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from codi import CoDiPipeline, InputError
from codi.defaults import CODI_MINI
from codi.sampling import Track
from tests.engine.test_joint import latents
from tests.engine.test_parts import call

PAIR = ["image", "video"]
ASKED = {"inputs": "a ball", "outputs": PAIR, "seed": 3}


def companions(outputs, **asked):
    return call(outputs=outputs, **asked).companions


def test_outputs_meet_in_a_text_that_is_not_returned(pipe):
    alone, three = latents(pipe, **ASKED), latents(pipe, **{**ASKED, "outputs": [*PAIR, "text"]})
    assert set(alone) == set(PAIR)
    assert all(torch.equal(alone[name], three[name]) for name in PAIR)
    made = pipe(**ASKED)
    assert set(made.media) == set(PAIR) and made.recipe["parameters"]["companions"] == ["text"]


def test_without_companions_they_meet_by_themselves(pipe):
    with_text, by_themselves = latents(pipe, **ASKED), latents(pipe, **ASKED, companions=[])
    assert not torch.allclose(with_text["image"], by_themselves["image"], atol=1e-5)
    with_sound = latents(pipe, **{**ASKED, "outputs": [*PAIR, "audio"]}, companions=[])
    assert torch.equal(latents(pipe, **ASKED, companions="audio")["image"], with_sound["image"])


def test_who_needs_none_has_none():
    assert companions(["image", "video"]) == companions(["audio", "image"]) == ("text",)
    assert companions(["image", "audio", "video"]) == ("text",)
    assert (
        not companions(["video"]) and not companions(["image", "text"]) and not companions(["audio", "text", "video"])
    )
    assert not companions(["image", "video"], given={"text": "a"})
    assert not companions(["image", "video"], bridge_scale=0.0)
    assert not companions(["image", "video"], bridge_scale={"video": 0.0})
    assert not companions(["image", "video"], makeable={"image", "video", "audio"})
    assert not companions(["image", "video"], defaults=replace(CODI_MINI, companions={}))
    assert companions(["video"], companions="audio") == ("audio",)


def test_a_clip_with_a_companion_is_guided_as_a_clip_with_others():
    guidance = call(outputs="video", companions=["audio"]).guidance
    assert guidance["video"].prompt == CODI_MINI.beside["video"][-1].value and set(guidance) == {"video", "audio"}


def test_nobody_is_run_for_nothing(pipe, monkeypatch):
    ran, run = set(), Track.run
    monkeypatch.setattr(Track, "run", lambda t, *rest: ran.add(id(t.engine)) or run(t, *rest))
    latents(pipe, **ASKED, bridge_scale=0)
    assert ran == {id(pipe.engine(name)) for name in PAIR}


def test_only_what_a_request_needs_is_loaded():
    asked = (("text",), (), ("image", "video"))
    assert {"text_denoiser", "text_bridge", "text_prompt_encoder"} <= CoDiPipeline.needed(*asked)
    assert not any(name.startswith("text_d") for name in CoDiPipeline.needed(*asked, companions=()))
    assert CoDiPipeline.needed(*asked, companions="text") == CoDiPipeline.needed(*asked)


@pytest.mark.parametrize("named", [["smell"], ["image"], ["text", "text"], "video"])
def test_a_companion_that_cannot_be_is_named(named):
    with pytest.raises(InputError, match=r"^companions "):
        companions(PAIR, companions=named)


def test_a_given_is_no_companion():
    with pytest.raises(InputError, match="companions audio: is made or given anyway; leave it out"):
        companions(["image", "video"], given={"audio": 1}, companions=["audio"])
