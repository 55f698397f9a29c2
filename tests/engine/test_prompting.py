"""Outputs that prompt the others, once it is settled what they become."""

from __future__ import annotations

import pytest
import torch

from codi import CoDiPipeline, InputError, schedule
from codi.conditioning import beside, null
from codi.guidance import Guidance
from codi.sampling import Track, tellers
from codi.types import Tokens
from tests.engine.test_joint import latents

ASKED = {"inputs": "a ball", "outputs": ["text", "audio"], "seed": 3, "num_inference_steps": 4}


def test_below_its_level_an_output_prompts_those_that_read_it(pipe):
    never, always, late = (latents(pipe, **ASKED, bridge_prompting=level) for level in (0.0, 1.0, {"text": 0.5}))
    assert not any(torch.allclose(never["audio"], other["audio"], atol=1e-4) for other in (always, late))
    above = latents(pipe, **ASKED, bridge_prompting=1e-6)
    assert torch.equal(never["audio"], above["audio"]) and torch.equal(never["text"], above["text"])


def test_a_text_prompts_by_default_and_nothing_else_does(pipe):
    default, text = latents(pipe, **ASKED), latents(pipe, **ASKED, bridge_prompting={"text": 0.45, "audio": 0.0})
    assert all(torch.equal(default[name], text[name]) for name in text)
    pair = {**ASKED, "outputs": ["image", "audio"], "companions": []}
    default, never = latents(pipe, **pair), latents(pipe, **pair, bridge_prompting=0.0)
    assert all(torch.equal(default[name], never[name]) for name in never)


def test_who_does_not_read_is_not_prompted(pipe):
    apart, deaf = (latents(pipe, **ASKED, bridge_scale=scale) for scale in (0.0, {"audio": 0.0}))
    assert torch.equal(apart["audio"], deaf["audio"])
    alone = latents(pipe, **{**ASKED, "outputs": ["text"]})["text"]
    mute = latents(pipe, **ASKED, bridge_scale={"text": 0.0})
    assert torch.equal(mute["text"], alone), "who reads nobody stays as alone"
    assert not torch.allclose(mute["audio"], latents(pipe, **ASKED, bridge_prompting=0.0)["audio"], atol=1e-4)


def test_what_is_said_last_is_what_is_made(pipe, monkeypatch):
    heard, hear = {}, Track.hear
    monkeypatch.setattr(Track, "hear", lambda t, said: hear(t, said) or heard.update({id(t.engine): t.heard}))
    made = pipe(**ASKED, num_outputs_per_prompt=2)
    said = heard[id(pipe.engine("audio"))]["text"]
    assert torch.equal(said.states, pipe.engine("text").prompt(made.text))
    assert not heard[id(pipe.engine("text"))], "nobody hears itself, and a sound says nothing"


def test_every_modality_can_prompt(pipe):
    names = sorted(pipe.modalities())
    asked = {**ASKED, "outputs": names}
    never = latents(pipe, **asked, bridge_prompting=0.0)
    for name in names:
        made = latents(pipe, **asked, bridge_prompting=dict.fromkeys(names, 0.0) | {name: 1.0})
        for other in set(names) - {name}:
            assert not torch.allclose(made[other], never[other], atol=1e-4), (name, other)


def test_others_stand_behind_a_prompt_and_in_the_place_of_none():
    some, more = (Tokens(torch.full((2, 3, 4), value)) for value in (1.0, 2.0))
    weighed = Tokens(some.states, None, torch.full((2, 3), -1.0))
    nothing = null(2, some.states)
    assert beside(some, ()) is some and beside(nothing, ()) is nothing
    both = beside(weighed, (more,))
    assert torch.equal(both.states, torch.cat([some.states, more.states], 1))
    assert both.bias.tolist() == [[-1.0] * 3 + [0.0] * 3] * 2
    assert torch.equal(beside(nothing, (some, more)).states, both.states)


def test_what_is_said_again_does_not_undo_what_was_kept():
    said = Tokens(torch.ones(1, 2, 3))
    track = Track(None, torch.zeros(1), torch.zeros(1), said, said, drift=torch.ones(1))
    track.hear({"text": said})
    assert track.drift is None
    track.drift = torch.ones(1)
    track.hear({"text": Tokens(torch.ones(1, 2, 3))})
    assert track.drift is not None
    track.hear({"text": Tokens(torch.zeros(1, 2, 3))})
    assert track.drift is None


def test_tellers_are_those_whom_somebody_reads():
    told = Guidance(prompting=0.5)
    assert tellers({"text": told}) == []
    assert tellers({"text": told, "audio": Guidance(bridge=0.0)}) == []
    assert tellers({"text": Guidance(bridge=0.0, prompting=0.5), "audio": Guidance()}) == ["text"]


def test_samplers_of_flow_can_say_what_is_clean(pipe):
    flow = schedule.chosen(pipe.components["text_scheduler"], None)
    assert schedule.flows(flow) and schedule.flows(schedule.chosen(flow, "UniPCMultistepScheduler"))
    from diffusers import DDIMScheduler

    assert not schedule.flows(DDIMScheduler())
    never, below = (
        latents(pipe, **ASKED, scheduler="UniPCMultistepScheduler", bridge_prompting=level) for level in (0.0, 0.8)
    )
    assert not torch.allclose(never["audio"], below["audio"], atol=1e-4)


def test_what_reads_the_prompt_must_be_loaded(bundle):
    asked = {"inputs": ["text"], "outputs": ["image", "audio"], "companions": ()}
    pipe = CoDiPipeline.from_pretrained(bundle, **asked)
    with pytest.raises(InputError, match="bridge_prompting image: needs image_prompt_encoder; load image as an input"):
        pipe(inputs="a", outputs=asked["outputs"], bridge_prompting=0.5, num_inference_steps=1)
