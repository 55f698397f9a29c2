"""Properties of the joint loop on random weights: what may depend on what."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from codi import At, CoDiPipeline, Part
from codi.media import Audio, Video
from codi.modality import registry
from codi.sampling import Track
from tests.samples import clicks, clip, picture

NAMES = tuple(registry())
STEPS = 2


def arrays(result, name: str) -> np.ndarray:
    """A result as numbers."""
    media = getattr(result, name)
    if isinstance(media, str):
        return np.frombuffer(media.encode(), np.uint8)
    return {Audio: lambda m: m.samples, Video: lambda m: m.frames}.get(type(media), lambda m: m)(media)


def latents(pipe: CoDiPipeline, **options) -> dict[str, torch.Tensor]:
    """The last latents of a call: exact where media are rounded."""
    kept: dict[str, torch.Tensor] = {}
    steps = options.pop("num_inference_steps", STEPS)
    pipe(num_inference_steps=steps, callback_on_step_end=lambda _, __, made: kept.update(made), **options)
    return kept


@pytest.mark.parametrize("name", NAMES)
def test_bridges_off_is_independent_generation_bit_for_bit(pipe, name):
    alone = latents(pipe, inputs="a ball", outputs=[name], seed=3)[name]
    together = latents(pipe, inputs="a ball", outputs=NAMES, seed=3, bridge_scale=0)[name]
    assert torch.equal(alone, together)


def test_bridges_act_in_their_share_of_the_steps_alone(pipe):
    asked = {"inputs": "a ball", "outputs": ["image", "audio"], "seed": 3}
    always, never = latents(pipe, **asked), latents(pipe, **asked, bridge_scale=0)
    early, late = latents(pipe, **asked, bridge_end=0.5), latents(pipe, **asked, bridge_start=0.5)
    assert torch.equal(latents(pipe, **asked, bridge_start=1.0)["image"], never["image"])
    for one, other in itertools.combinations([always["image"], never["image"], early["image"], late["image"]], 2):
        assert not torch.allclose(one, other, atol=1e-5)


def test_who_does_not_act_yet_is_not_read_either(pipe):
    asked = {"inputs": "a ball", "outputs": ["image", "audio"], "seed": 3, "bridge_scale": {"image": 0.0}}
    never, late = (latents(pipe, **asked, bridge_start={"image": start, "audio": 0.0}) for start in (1.0, 0.5))
    apart = latents(pipe, **{**asked, "bridge_scale": 0})
    assert torch.equal(never["audio"], apart["audio"]) and torch.equal(never["image"], late["image"])
    assert not torch.allclose(late["audio"], apart["audio"], atol=1e-5)


def test_an_output_is_shown_only_while_somebody_reads_it(pipe, monkeypatch):
    asked = {"inputs": "a ball", "outputs": ["image", "audio"], "seed": 3, "num_inference_steps": 8, "companions": []}
    shown, show = [], Track.show
    monkeypatch.setattr(Track, "show", lambda t, k, *rest: shown.append((t.engine, k)) or show(t, k, *rest))
    latents(pipe, **asked, bridge_start={"image": 0.25}, bridge_end={"image": 0.75, "audio": 1.0})
    steps = {name: [k for engine, k in shown if engine is pipe.engine(name)] for name in asked["outputs"]}
    assert steps == {"image": [2, 3, 4, 5, 6, 7], "audio": [2, 3, 4, 5]}


def test_guidance_ends_when_it_is_told_to(pipe):
    asked = {"inputs": "a ball", "outputs": ["image", "audio"], "seed": 3}
    always, never = latents(pipe, **asked), latents(pipe, **asked, guidance_scale=1.0)
    early = latents(pipe, **asked, guidance_end=0.5)
    assert torch.equal(latents(pipe, **asked, guidance_end=0.0)["image"], never["image"])
    assert not any(torch.allclose(early["image"], other["image"], atol=1e-5) for other in (always, never))


def test_the_pass_without_a_prompt_is_taken_once_an_interval(pipe, monkeypatch):
    pair = {"inputs": "a ball", "outputs": ["image", "audio"], "seed": 3, "num_inference_steps": 5, "companions": []}
    asked = {**pair, "guidance_scale": 3.0, "bridge_end": 1.0}
    taken = []
    run = Track.run

    def noted(track, index, prompts, *rest):
        taken.extend((prompt is track.null, index) for prompt in prompts)
        return run(track, index, prompts, *rest)

    monkeypatch.setattr(Track, "run", noted)
    every = latents(pipe, **asked, guidance_interval=1)
    assert [k for null, k in taken if null] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    taken.clear()
    third = latents(pipe, **asked, guidance_interval=3)
    assert [k for null, k in taken if null] == [0, 0, 3, 3]
    assert len(taken) == 10 + 10 + 4
    never = latents(pipe, **pair, guidance_scale=1.0)
    gap = [float((every["image"] - other["image"]).norm()) for other in (third, never)]
    assert 0 < gap[0] < gap[1], "what is kept is nearer to what it stands for than nothing is"


def test_new_noise_is_for_those_who_read_others_and_above_a_level(pipe):
    asked = {"inputs": "a ball", "seed": 3, "num_inference_steps": 4}
    pair = {"outputs": ["image", "audio"]}
    kept, renewed, below = (latents(pipe, **asked, **pair, bridge_renewal=level) for level in (1.0, 0.0, 0.999))
    for name in pair["outputs"]:
        assert not torch.allclose(kept[name], renewed[name], atol=1e-2)
        assert torch.equal(kept[name], below[name]), "no step of four is that noisy but the first"
    alone = [latents(pipe, **asked, outputs=["image"], bridge_renewal=level)["image"] for level in (1.0, 0.0)]
    apart = latents(pipe, **asked, **pair, bridge_scale=0, bridge_renewal=0.0)["image"]
    assert torch.equal(*alone) and torch.allclose(alone[0], apart, atol=1e-4)
    again, batch = (latents(pipe, **asked, **pair, bridge_renewal=0.0, num_outputs_per_prompt=n) for n in (1, 2))
    assert torch.equal(renewed["image"], again["image"])
    second = latents(pipe, **{**asked, "seed": 4}, **pair, bridge_renewal=0.0)
    assert torch.allclose(batch["image"][1], second["image"][0], atol=1e-3)


def test_what_begins_from_a_medium_keeps_its_noise(pipe):
    picture = pipe(inputs="a", outputs=["image"], num_inference_steps=1).image
    asked = {"inputs": "a ball", "outputs": ["image", "audio"], "given": {"image": Part(picture, strength=0.5)}}
    whole = Part(picture, strength=1.0)
    for part, same in ((asked["given"]["image"], True), (whole, False)):
        made = [
            latents(pipe, **{**asked, "given": {"image": part}}, num_inference_steps=4, seed=3, bridge_renewal=level)
            for level in (1.0, 0.0)
        ]
        assert not torch.allclose(made[0]["audio"], made[1]["audio"], atol=1e-2), "its partner is made whole"
        # The picture may still differ a little, for its partner does.
        gap = float((made[0]["image"] - made[1]["image"]).abs().mean())
        assert (gap < 0.2) == same, gap


@pytest.mark.parametrize(("reader", "partner"), list(itertools.permutations(NAMES, 2)))
def test_an_output_changes_when_its_partner_joins(pipe, reader, partner):
    asked = {"inputs": "a ball", "seed": 3, "num_inference_steps": 4, "companions": []}
    alone, joint = (latents(pipe, **asked, outputs=outputs)[reader] for outputs in ([reader], [reader, partner]))
    assert not torch.allclose(alone, joint, atol=1e-4)


@pytest.mark.parametrize(("reader", "given"), list(itertools.permutations(NAMES, 2)))
def test_an_output_follows_what_is_given(pipe, reader, given):
    made = [
        pipe(outputs=[given], inputs=text, num_inference_steps=STEPS, seed=seed) for text, seed in (("a", 0), ("b", 9))
    ]
    media = [getattr(result, given) for result in made]
    if given == "text":  # random weights say the same whatever the latent is
        media = ["hello there", "7 other words !"]
    one, two = (latents(pipe, given={given: medium}, outputs=[reader], seed=3)[reader] for medium in media)
    assert not torch.allclose(one, two, atol=1e-5)


def test_the_order_of_outputs_does_not_matter(pipe):
    forward = latents(pipe, inputs="a ball", outputs=NAMES, seed=1)
    backward = latents(pipe, inputs="a ball", outputs=NAMES[::-1], seed=1)
    assert all(torch.equal(forward[name], backward[name]) for name in NAMES)


def test_the_order_of_givens_does_not_matter(pipe):
    given = {"audio": clicks(), "video": clip(), "image": picture()}
    asked = {"outputs": ["text"], "seed": 3, "weights": dict.fromkeys(given, 0.0)}
    one, other = (latents(pipe, given=stands, **asked)["text"] for stands in (given, dict(reversed(given.items()))))
    assert torch.equal(one, other) and not torch.equal(one, latents(pipe, outputs=["text"], seed=3)["text"])


def test_a_sample_of_a_batch_is_the_same_seed_alone(pipe):
    batch = latents(pipe, inputs="a ball", outputs=["audio", "image"], seed=5, num_outputs_per_prompt=3)
    alone = latents(pipe, inputs="a ball", outputs=["audio", "image"], seed=7)
    for name in ("audio", "image"):
        assert torch.allclose(batch[name][2], alone[name][0], atol=1e-3)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(pipe):
    one, two, other = (latents(pipe, inputs="a ball", outputs=NAMES, seed=seed) for seed in (4, 4, 5))
    for name in NAMES:
        assert torch.equal(one[name], two[name])
        assert not torch.allclose(one[name], other[name], atol=1e-2)


def test_a_picture_at_an_instant_is_not_a_picture_at_none(pipe):
    picture = pipe(inputs="a", outputs=["image"], num_inference_steps=1).image
    placed = latents(pipe, given={"image": At(picture, 0.5)}, outputs=["video"])["video"]
    later = latents(pipe, given={"image": At(picture, 1.5)}, outputs=["video"])["video"]
    free = latents(pipe, given={"image": picture}, outputs=["video"])["video"]
    assert not torch.allclose(placed, later, atol=1e-5)
    assert not torch.allclose(placed, free, atol=1e-5)


def test_weights_and_negatives_and_several_inputs_matter(pipe):
    def video(**options) -> torch.Tensor:
        return latents(pipe, outputs=["image"], seed=0, **options)["image"]

    both = video(inputs={"text": ["a ball", "7 stars"]})
    assert not torch.allclose(both, video(inputs={"text": ["a ball"]}), atol=1e-5)
    assert torch.allclose(both, video(inputs={"text": ["7 stars", "a ball"]}), atol=1e-4)
    assert not torch.allclose(both, video(inputs={"text": ["a ball", "7 stars"]}, negative_prompt="grey"), atol=1e-5)
    mixed = {"text": "a ball", "audio": Audio(np.zeros((1, 32_000), np.float32), 16_000)}
    text_only = video(inputs={"text": "a ball"})
    assert torch.allclose(video(inputs=mixed, weights={"audio": 0}), text_only, atol=1e-4)
    assert not torch.allclose(video(inputs=mixed, weights={"audio": 0.5}), video(inputs=mixed), atol=1e-5)


def test_a_generator_contributes_its_seed(pipe):
    seeded = latents(pipe, inputs="a", outputs=["image"], seed=11)["image"]
    generated = latents(pipe, inputs="a", outputs=["image"], generator=torch.Generator().manual_seed(11))["image"]
    assert torch.equal(seeded, generated)


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "FlowMatchHeunDiscreteScheduler"])
def test_other_schedulers_sample(pipe, name):
    made = pipe(inputs="a", outputs=["image", "audio"], num_inference_steps=3, scheduler=name)
    assert made.image.shape == (64, 64, 3)


def test_every_input_set_to_every_output_set(pipe):
    """All 225 cells run and give what was asked for."""
    start = pipe(inputs="a ball", outputs=NAMES, num_inference_steps=1)
    subsets = [s for size in range(1, 5) for s in itertools.combinations(NAMES, size)]
    assert len(subsets) == 15
    for inputs, outputs in itertools.product(subsets, subsets):
        media = {name: getattr(start, name) for name in inputs}
        result = pipe(inputs=media, outputs=outputs, num_inference_steps=1, guidance_scale=1)
        assert set(result.media) == set(outputs)
        assert all(np.isfinite(arrays(result, name).astype(np.float64)).all() for name in outputs)


@pytest.mark.parametrize("given", ["image", "audio", "video"])
def test_a_given_prompts_unless_its_modality_is_an_input_or_weighs_nothing(pipe, given):
    medium = getattr(pipe("a", [given], num_inference_steps=STEPS), given)
    asked = {"outputs": ["text"], "given": {given: medium}, "seed": 3, "bridge_scale": 0}
    by_itself = latents(pipe, **asked)["text"]
    named = latents(pipe, **asked, inputs={given: medium})["text"]
    silent = latents(pipe, **asked, weights={given: 0.0})["text"]
    assert torch.equal(by_itself, named) and not torch.allclose(by_itself, silent, atol=1e-5)
    assert torch.equal(silent, latents(pipe, outputs=["text"], seed=3)["text"])


@pytest.mark.parametrize("size", [32, 128])
def test_pictures_of_another_size_are_read_too(pipe, size):
    # Nothing but the bridges differs between the two.
    same = {"guidance_scale": 1.0, "bridge_renewal": 1.0, "bridge_prompting": 0.0, "companions": [], "size": size}
    off, on = (
        latents(pipe, inputs="a ball", outputs=["image", "audio", "video"], bridge_scale=scale, **same)
        for scale in (0.0, 3.0)
    )
    assert on["image"].shape[-2:] == on["video"].shape[-2:] == (size // 8, size // 8)
    assert not torch.allclose(off["audio"], on["audio"], atol=1e-4)
