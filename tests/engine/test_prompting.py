"""Outputs that prompt the others, once it is settled what they become."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from codi import CoDiPipeline, InputError, schedule
from codi.conditioning import beside, null
from codi.guidance import Guidance
from codi.held import Held
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


@pytest.mark.parametrize("copies", [1, 2])
def test_what_is_heard_prompts_as_an_input_of_the_same_words_would(pipe, monkeypatch, copies):
    words, decode, heard, hear = [], pipe.engine("text").decode, {}, Track.hear
    monkeypatch.setattr(pipe.engine("text"), "decode", lambda *latent: words.append(decode(*latent)) or words[-1])
    monkeypatch.setattr(Track, "hear", lambda t, said: hear(t, said) or heard.update({id(t.engine): t}))
    pipe(**ASKED, num_outputs_per_prompt=copies)
    sound, text = (heard[id(pipe.engine(name))] for name in ("audio", "text"))
    *said, made = words
    assert len(said) == 2 and made, "it speaks at levels of 0.29 and 0.09, and is made last"
    states, read = sound.heard["text"].states, pipe.engine("text").prompt(said[-1])
    assert torch.allclose(states, read, atol=1e-5)
    assert copies > 1 or torch.equal(states, read), "alone, to the last bit"
    assert torch.equal(sound.prompted.states, torch.cat([sound.prompt.states, sound.heard["text"].states], 1))
    assert not text.heard and text.prompted is text.prompt, "nobody hears itself, and a sound says nothing"


def test_it_speaks_each_time_that_its_level_has_halved_and_not_for_ever():
    levels, said = [1.0, 0.6, 0.5, 0.35, 0.24, 0.2, 0.11, 0.05, 0.02, 0.0], []
    steps = SimpleNamespace(timesteps=torch.tensor(levels), config=SimpleNamespace(num_train_timesteps=1))
    track = Track(None, torch.zeros(1), torch.zeros(1), None, None, steps, says=said.append)
    for index in range(len(levels)):
        track.say(torch.ones(1), index, 0.55)
    assert [round(-float(clean), 3) for clean in said] == [0.5, 0.24, 0.11, 0.05]


def test_what_stands_of_an_output_is_in_what_it_says():
    stands, made = torch.ones(1, 4), torch.zeros(1, 4)
    part = Held(stands, made, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    assert part.over(made, 3).tolist() == [[1.0, 1.0, 0.0, 0.0]]
    begun = Held(stands, made, torch.ones(1, 4), until=2)
    assert begun.over(made, 1).tolist() == stands.tolist() and begun.over(made, 2).tolist() == made.tolist()


def test_words_that_were_said_before_are_not_read_again(pipe, monkeypatch):
    engine, asked = pipe.engine("text"), {**ASKED, "num_inference_steps": 8, "num_outputs_per_prompt": 2}
    prompt, hear, read, heard = engine.prompt, Track.hear, [], []
    monkeypatch.setattr(engine, "decode", lambda *latent: said.pop(0))
    monkeypatch.setattr(engine, "prompt", lambda media: read.append(list(media)) or prompt(media))
    monkeypatch.setattr(Track, "hear", lambda t, said: heard.extend(said.values()) or hear(t, said))
    for _ in range(2):
        said = [["a red ball", "a star"], ["a star", "a star"], ["a ring", "a red ball"], ["made", "last"]]
        pipe(**asked)
        assert read == [["a ball"], ["a red ball", "a star"], ["a ring"]], "once in a call, and in each call again"
        read.clear()
    first, second, third = (tokens.states for tokens in heard[:3])
    assert torch.equal(second, first[[1, 1]]) and torch.equal(third[1], first[0])
    assert torch.allclose(third[0], prompt(["a ring"])[0], atol=1e-5)


def test_neighbours_in_a_batch_do_not_change_what_is_heard(pipe):
    asked = {**ASKED, "outputs": ["image", "text", "audio"], "num_inference_steps": 8, "guidance_interval": 3}
    batch = latents(pipe, **asked, num_outputs_per_prompt=3)
    third = latents(pipe, **{**asked, "seed": 5})
    for name, latent in third.items():
        assert torch.allclose(batch[name][2], latent[0], atol=1e-3), name


def test_where_nobody_can_be_read_nobody_is_heard(bundle):
    absent = {f"{name}_{part}": None for name in ("image", "text") for part in ("bridge", "environment_encoder")}
    pipe = CoDiPipeline.from_pretrained(bundle, **absent)
    pipe.set_progress_bar_config(disable=True)
    asked = {**ASKED, "guidance_interval": 1}
    alone, joint = (
        latents(pipe, **{**asked, "outputs": outputs})["image"] for outputs in (["image"], ["image", "text"])
    )
    assert torch.equal(alone, joint)


def test_a_picture_says_what_stands_of_it_in_half_precision_too(bundle):
    pipe = CoDiPipeline.from_pretrained(bundle, dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    made = latents(pipe, **{**ASKED, "outputs": sorted(pipe.modalities()), "bridge_prompting": 1.0})
    assert all(latent.isfinite().all() and latent.dtype == torch.bfloat16 for latent in made.values())


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


def test_what_the_prompt_changed_is_looked_at_anew_when_something_was_said():
    said = Tokens(torch.ones(1, 2, 3))
    track = Track(None, torch.zeros(1), torch.zeros(1), said, said, drift=torch.ones(1))
    track.hear({})
    assert track.drift is not None and track.prompted is said
    track.hear({"text": said})
    assert track.drift is None and track.prompted.states.shape == (1, 4, 3)


def test_tellers_are_those_whom_somebody_reads():
    told = Guidance(prompting=0.5)
    assert tellers({"text": told}) == []

    class Itself(Guidance):
        def reads(self, name, other):
            return other == name

    assert tellers({"text": Itself(prompting=0.5), "audio": Itself(prompting=0.5)}) == []
    assert tellers({"text": told, "audio": Guidance(bridge=0.0)}) == []
    assert tellers({"text": Guidance(bridge=0.0, prompting=0.5), "audio": Guidance()}) == ["text"]


def test_samplers_of_flow_can_say_what_is_clean(pipe):
    flow = schedule.chosen(pipe.components["text_scheduler"], None)
    assert schedule.flows(flow) and schedule.flows(schedule.chosen(flow, "UniPCMultistepScheduler"))
    from diffusers import DDIMScheduler

    assert not schedule.flows(DDIMScheduler())
    for name in ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"):
        sampler = schedule.prepared(schedule.chosen(flow, name), 4, torch.device("cpu"))
        clean, noise = torch.randn(2, 1, 8, 16)
        for index in range(4):
            noisy = clean.lerp(noise, sampler.sigmas[index])
            assert torch.allclose(schedule.estimate(sampler, noise - clean, index, noisy), clean, atol=2e-2)
    never, below = (
        latents(pipe, **ASKED, scheduler="UniPCMultistepScheduler", bridge_prompting=level) for level in (0.0, 0.8)
    )
    assert not torch.allclose(never["audio"], below["audio"], atol=1e-4)


def test_what_reads_the_prompt_must_be_loaded(bundle):
    asked = {"inputs": ["text"], "outputs": ["image", "audio"], "companions": ()}
    pipe = CoDiPipeline.from_pretrained(bundle, **asked)
    with pytest.raises(InputError, match="bridge_prompting image: needs image_prompt_encoder; load image as an input"):
        pipe(inputs="a", outputs=asked["outputs"], bridge_prompting=0.5, num_inference_steps=1)
    CoDiPipeline.from_pretrained(bundle, **asked, bridge_prompting={"image": 0.5})(
        inputs="a", outputs=asked["outputs"], bridge_prompting={"image": 0.5}, num_inference_steps=1
    )


def test_what_tells_others_is_loaded_for_that_and_not_else():
    def reads(given=(), outputs=(), **asked):
        return sorted(n for n in CoDiPipeline.needed((), given, outputs, **asked) if n.endswith("prompt_encoder"))

    assert reads(outputs=("text", "audio")) == reads(outputs=("image", "audio")) == ["text_prompt_encoder"]
    assert reads(outputs=("text",)) == reads(outputs=("text", "audio"), bridge_prompting=0.0) == []
    assert reads(("audio",), ("text",)) == ["audio_prompt_encoder"]
    both = reads(outputs=("image",), companions=("audio",), bridge_prompting=0.5)
    assert both == ["audio_prompt_encoder", "image_prompt_encoder"]
    one = reads(outputs=("text", "audio"), bridge_prompting={"audio": 0.5})
    assert one == ["audio_prompt_encoder", "text_prompt_encoder"]
