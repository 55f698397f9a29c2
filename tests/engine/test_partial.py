"""Givens that stand in part: they come back as they were, and the rest is made around them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

from codi import At, InputError, Part, schedule
from codi.held import LOOKS, RENEWS, Held, together
from codi.media import Audio
from codi.modalities.audio.engine import AudioEngine
from codi.modalities.image.engine import fit, unfit
from codi.modalities.video.engine import VideoEngine
from codi.schedule import begins, prepared
from codi.types import ClipSpec
from tests import samples
from tests.engine.test_joint import latents

SPANS = ((0.0, 0.5), (1.5, 2.0))


def stereo() -> Audio:
    return Audio(np.random.default_rng(0).uniform(-0.5, 0.5, (2, 88_200)).astype(np.float32), 44_100)


def test_a_gap_in_a_sound_is_filled_and_the_rest_keeps_its_samples(pipe):
    own = stereo()
    made = pipe("a ball", ["audio"], {"audio": Part(own, spans=SPANS)}, num_inference_steps=2).audio
    assert made.rate == 44_100 and made.samples.shape == own.samples.shape
    kept = np.zeros(88_200, bool)
    kept[:22_050] = kept[66_150:] = True
    assert np.array_equal(made.samples[:, kept], own.samples[:, kept])
    assert np.abs(made.samples[:, ~kept] - own.samples[:, ~kept]).mean() > 0.1
    # No click: what was made meets what stands.
    assert abs(made.samples[0, 22_050] - made.samples[0, 22_049]) < 1e-6
    assert abs(made.samples[1, 66_149] - made.samples[1, 66_150]) < 1e-6


def test_what_stands_of_a_loud_sound_keeps_its_samples_where_what_joins_it_is_bent():
    own = Audio(np.where(np.arange(32_000) // 20 % 2, 0.99, -0.99).astype(np.float32)[None], 16_000)
    made = Audio(-own.samples, 16_000)
    whole = AudioEngine({}).mend(made, Part(own, spans=((0, 1),)), ClipSpec())
    assert np.abs(whole.samples).max() <= 1
    assert np.array_equal(whole.samples[:, :16_000], own.samples[:, :16_000])


@pytest.mark.parametrize("rate", [16_007, 44_101, 383_987])
def test_sounds_of_odd_rates_are_heard_as_those_of_the_rate_beside(rate):
    engine = AudioEngine({})
    odd, even = (engine._samples(samples.clicks(rate=r), ClipSpec()) for r in (rate, 16_000))
    loud, heard = (sound.view(-1, 160).square().mean(-1) for sound in (odd, even))  # in hundredths of a second
    assert torch.nn.functional.cosine_similarity(loud, heard, dim=0) > 0.95


def test_half_a_clip_is_continued_at_its_own_rate_and_size(pipe):
    own = samples.clip(frames=60, fps=30.0)
    wide = type(own)(np.ascontiguousarray(np.pad(own.frames, ((0, 0), (0, 0), (8, 8), (0, 0)))), 30.0)
    made = pipe("a ball", ["video", "audio"], {"video": Part(wide, spans=((0, 1),))}, num_inference_steps=2).video
    assert made.fps == 30.0 and made.frames.shape == (60, 64, 80, 3)
    assert np.array_equal(made.frames[:30], wide.frames[:30])
    assert not any(np.array_equal(a, b) for a, b in zip(made.frames[30:], wide.frames[30:], strict=True))


def test_a_masked_region_of_a_picture_is_filled(pipe):
    own = samples.picture()
    mask = np.ones(own.shape[:2], bool)
    mask[10:30, 20:50] = False
    made = pipe("a ball", ["image"], {"image": Part(own, mask=mask)}, num_inference_steps=2).image
    assert np.array_equal(made[mask], own[mask])
    assert (made[~mask] != own[~mask]).any(-1).mean() > 0.9


def test_a_picture_at_an_instant_is_the_frame_that_stands_there(pipe):
    own = samples.picture()
    asked = {"inputs": "a ball", "outputs": ["video"], "num_inference_steps": 2}
    made = pipe(**asked, given={"image": At(own, 0.5)}).video.frames
    assert np.array_equal(made[4], fit(own, 64))
    assert not any(np.array_equal(frame, made[4]) for frame in np.delete(made, 4, axis=0))
    # Whatever instant lies within a frame names that frame; another is another clip.
    assert np.array_equal(pipe(**asked, given={"image": At(own, 0.6)}).video.frames[4], made[4])
    late = pipe(**asked, given={"image": At(own, 1.0)}).video.frames
    assert np.array_equal(late[8], made[4]) and not np.array_equal(late[0], made[0])


def test_a_picture_at_an_instant_stands_while_the_clip_is_made(pipe):
    own, kept = samples.picture(), {}
    pipe(
        "a ball",
        ["video"],
        {"image": At(own, 0.5)},
        num_inference_steps=2,
        bridge_scale=0.0,
        weights={"image": 0.0},
        callback_on_step_end=lambda _, __, now: kept.update(now),
    )
    engine = pipe.engine("video")
    frame = engine.encode(engine.pinned("image", own, 0.5, ClipSpec()).media, ClipSpec())[:, :, 4]
    assert torch.allclose(kept["video"][:, :, 4], frame, atol=1e-5)
    assert float(engine.clock(ClipSpec())[4]) == float(pipe.engine("image").clock(ClipSpec(), 0.6))


def test_what_is_made_around_what_stands_gets_new_noise_near_the_noise_and_is_drawn_to_it(pipe, monkeypatch):
    drawn, renewed = [], []
    draw, renew = Held.drawn, schedule.renewed
    monkeypatch.setattr(Held, "drawn", lambda *a: drawn.append(1) or draw(*a))
    monkeypatch.setattr(schedule, "renewed", lambda *a: renewed.append(1) or renew(*a))
    asked = {"inputs": "a ball", "outputs": ["audio"], "num_inference_steps": 20}
    pipe(**asked, given={"audio": Part(samples.clicks(), spans=((0, 1),))})
    scheduler = prepared(pipe.audio_scheduler, 20, "cpu")
    levels = [schedule.level_at(scheduler, index) for index in range(20)]
    assert len(drawn) == sum(level >= LOOKS for level in levels)
    assert len(renewed) == sum(level > RENEWS for level in levels[1:]) > 0
    pipe(**asked, given={"audio": Part(samples.clicks(), strength=1.0)})
    assert len(drawn) == sum(level >= LOOKS for level in levels)


def test_what_stands_in_part_is_drawn_to_in_inference_mode_too(pipe):
    with torch.inference_mode():
        made = pipe("a ball", ["audio"], {"audio": Part(samples.clicks(), spans=((0, 1),))}, num_inference_steps=1)
    assert made.audio.rate == 16_000


def test_instants_of_one_batch_are_the_same(pipe):
    own = samples.picture()
    for other in (At(own, 1.0), own):
        with pytest.raises(InputError, match="stands at several instants"):
            pipe("a ball", ["video"], [{"image": At(own, 0.5)}, {"image": other}], num_inference_steps=1)


def test_a_clip_that_begins_from_another_has_no_frame_that_stands(pipe):
    given = {"video": Part(samples.clip(), strength=0.5), "image": At(samples.picture(), 0.5)}
    with pytest.raises(InputError, match="video: has a strength, and a frame that stands"):
        pipe("a ball", ["video"], given, num_inference_steps=1)


def test_a_clip_goes_on_from_its_first_half_to_a_picture(pipe):
    own = samples.clip(frames=60, fps=30.0)
    given = {"video": Part(own, spans=((0, 1),)), "image": At(samples.picture(), 1.75)}
    made = pipe("a ball", ["video"], given, num_inference_steps=2).video
    assert made.fps == 30.0 and np.array_equal(made.frames[:30], own.frames[:30])
    shown = unfit(fit(samples.picture(), 64), own.frames.shape[1:3])
    assert all(np.array_equal(frame, shown) for frame in made.frames[53:56])


def test_a_picture_at_an_instant_is_no_part_of_a_sound(pipe):
    engine = pipe.engine("audio")
    assert engine.pinned("image", samples.picture(), 0.5, ClipSpec()) is None


def test_what_stands_later_lies_over_what_stood_before():
    noise, first, second = torch.randn(1, 4), torch.tensor([[1.0, 1.0, 0, 0]]), torch.tensor([[0, 1.0, 1.0, 0]])
    both = together([Held(torch.full((1, 4), 2.0), noise, first), Held(torch.full((1, 4), 3.0), noise, second)])
    assert torch.equal(both.over(torch.zeros(1, 4), 0), torch.tensor([[2.0, 3.0, 3.0, 0.0]]))


def mixed(mask: torch.Tensor) -> tuple[Held, torch.Tensor, torch.Tensor]:
    """What stands of three samples, a latent, and how a denoiser of rectified flow mixes its cells."""
    torch.manual_seed(0)
    mixing = torch.eye(6) + 0.3 * torch.randn(6, 6)
    return Held(torch.randn(3, 6), torch.randn(3, 6), mask), torch.randn(3, 6), mixing


def test_an_estimate_is_drawn_to_what_stands_beyond_it_too():
    mask = torch.tensor([1.0, 1, 0, 0, 0, 0])
    held, latent, mixing = mixed(mask)
    level = 0.8

    def predict(latent: torch.Tensor) -> torch.Tensor:
        return (latent - latent @ mixing) / level

    before = predict(latent)
    after = held.drawn(predict, before, latent, level)
    missed = [(mask * (held.clean - (latent - level * v))).square().sum(1) for v in (before, after)]
    assert (missed[1] < 0.5 * missed[0]).all()
    changed = (after - before).abs() > 1e-6
    assert changed[:, 2:].any(1).all()
    # Each sample by itself; nothing where nothing stands, or where what stands is met.
    alone = Held(held.clean[1:2], held.white[1:2], mask).drawn(predict, before[1:2], latent[1:2], level)
    assert torch.allclose(alone, after[1:2], atol=1e-6)
    nothing = Held(held.clean, held.white, torch.zeros(6))
    assert torch.allclose(nothing.drawn(predict, before, latent, level), before, atol=1e-6)
    met = Held(latent - level * before, held.white, mask)
    assert torch.allclose(met.drawn(predict, before, latent, level), before, atol=1e-5)


def test_samplers_that_predict_no_velocity_and_what_is_made_anew_are_not_drawn():
    held, _, _ = mixed(torch.ones(6))
    flow = prepared(FlowMatchEulerDiscreteScheduler(), 10, "cpu")
    assert [held.draws(flow, index) for index in (0, 9)] == [True, False]
    assert not held.draws(prepared(DDIMScheduler(), 10, "cpu"), 0)
    begun = Held(held.clean, held.white, held.mask, until=5)
    assert not begun.draws(flow, 0) and begun.renewal == 1.0


def test_what_is_made_depends_on_what_stands(pipe):
    made = [
        latents(pipe, inputs="a ball", outputs=["audio"], given={"audio": Part(own, spans=((0, 1),))}, seed=1)["audio"]
        for own in (stereo(), samples.clicks())
    ]
    assert not torch.allclose(made[0][..., -1], made[1][..., -1], atol=1e-4)


@pytest.mark.parametrize("name", ["audio", "video"])
def test_what_stands_prompts_the_rest_as_if_it_were_an_input(pipe, name):
    own = {"audio": stereo(), "video": samples.clip(frames=60, fps=30.0)}[name]
    part = Part(own, spans=((0, 1),))
    shown = pipe.engine(name).shown(part)
    asked = {"outputs": ["image", name], "given": {name: part}, "seed": 1}
    alone = latents(pipe, inputs="a ball", **asked)
    named = latents(pipe, inputs={"text": "a ball", name: shown}, **asked)
    other = latents(pipe, inputs={"text": "a ball", name: own}, **asked)
    assert torch.equal(alone[name], named[name]) and torch.equal(alone["image"], named["image"])
    assert not torch.allclose(alone["image"], other["image"], atol=1e-5)


def test_what_is_shown_of_a_part_is_what_stands():
    sound, clip = Part(stereo(), spans=SPANS), Part(samples.clip(frames=60, fps=30.0), spans=SPANS)
    heard, seen = AudioEngine({}).shown(sound), VideoEngine({}).shown(clip)
    assert np.array_equal(heard.samples[:, :22_050], sound.media.samples[:, :22_050])
    assert not heard.samples[:, 22_050:66_150].any() and heard.rate == 44_100
    for kept in (slice(0, 15), slice(45, 60)):
        assert np.array_equal(seen.frames[kept], clip.media.frames[kept])
    assert all(np.array_equal(frame, clip.media.frames[14]) for frame in seen.frames[15:45])


def test_a_given_that_stands_wholly_ends_as_its_latent(pipe):
    part = Part(samples.clicks(), spans=((0, 2),))
    ended = latents(pipe, inputs="a ball", outputs=["audio"], given={"audio": part})["audio"]
    engine = pipe.engine("audio")
    clip = pipe.clip(["audio"], None, None, None)
    assert torch.allclose(ended, engine.encode(part.media, clip))


@pytest.mark.parametrize("scheduler", ["FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"])
def test_every_scheduler_lays_what_stands_at_its_level(pipe, scheduler):
    own = schedule.prepared(schedule.chosen(pipe.audio_scheduler, scheduler), 4, torch.device("cpu"))
    clean, white = torch.ones(1, 16, 4, 32), torch.randn(1, 16, 4, 32)
    held = Held(clean, white, torch.ones(1, 1, 1, 32))
    for index in range(5):
        level = schedule.level_at(own, index) if index < 4 else 0.0
        laid = held.laid(torch.zeros_like(clean), own, index)
        assert torch.allclose(laid, (1 - level) * clean + level * white, atol=1e-2)


@pytest.mark.parametrize(
    ("outputs", "given", "message"),
    [
        (["text"], {"text": Part("a ball", spans=((0, 1),))}, "cannot stand in part"),
        (["text"], {"audio": Part(stereo(), spans=((0, 1),))}, "audio: is given in part and no output"),
        (["audio"], {"audio": stereo()}, "audio: is both given and an output"),
        (["audio"], {"audio": Part(stereo())}, "names no span"),
        (["audio"], {"audio": Part(stereo(), spans=((0, 3),))}, "stands until 3 s of a clip of 2 s"),
        (["audio"], {"image": At(samples.picture(), 2.0)}, "image: stands at 2 s, outside a clip of 2 s"),
        (["image"], {"image": Part(samples.picture())}, "names no mask"),
        (["image"], {"image": Part(samples.picture(), mask=np.ones((3, 5), bool))}, "has a mask of 5x3"),
    ],
)
def test_what_cannot_stand_in_part_is_named(pipe, outputs, given, message):
    with pytest.raises(InputError, match=message):
        pipe("a ball", outputs, given, num_inference_steps=1)


def test_a_medium_made_anew_is_nearer_to_what_it_was_the_less_of_it_is_made(pipe):
    own = samples.picture()
    clean = pipe.engine("image").encode(own, ClipSpec())
    # A picture made whole would get new noise, one that begins from another does not: compare like with like.
    asked = {"inputs": "a ball", "outputs": ["image", "audio"], "seed": 1, "bridge_renewal": 1.0}

    def made(strength: float) -> torch.Tensor:
        kept = {}
        pipe(
            **asked,
            given={"image": Part(own, strength=strength)},
            num_inference_steps=8,
            callback_on_step_end=lambda _, __, now: kept.update(now),
        )
        return kept["image"]

    far = [float((made(strength) - clean).abs().mean()) for strength in (1.0, 0.5, 0.1)]
    assert far[0] > far[1] > far[2]


def test_steps_that_nothing_is_made_in_cost_nothing(pipe, monkeypatch):
    levels = []
    engine = pipe.engine("image")
    whole = type(engine.denoiser).__call__

    def counted(self, latent, level, *rest):
        levels.extend(level.tolist())
        return whole(self, latent, level, *rest)

    monkeypatch.setattr(type(engine.denoiser), "__call__", counted)
    pipe("a ball", ["image"], {"image": Part(samples.picture(), strength=0.5)}, num_inference_steps=4)
    assert len(levels) == 4  # two steps with guidance


def test_a_strength_of_one_is_as_if_nothing_stood(pipe):
    asked = {"inputs": "a ball", "outputs": ["text"], "seed": 1}
    anew = latents(pipe, **asked, given={"text": Part("a red circle", strength=1.0)})["text"]
    assert torch.allclose(anew, latents(pipe, **asked)["text"], atol=1e-6)


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.5, float("nan")])
def test_a_strength_out_of_bounds_is_refused(pipe, strength):
    with pytest.raises(InputError, match="given text"):
        pipe("a ball", ["text"], {"text": Part("a", strength=strength)})


def test_strengths_of_one_batch_are_the_same(pipe):
    for other in (Part("a", strength=0.6), "a"):
        with pytest.raises(InputError, match=r"in some samples"):
            pipe("a ball", ["text"], [{"text": Part("a", strength=0.5)}, {"text": other}], num_inference_steps=2)


def test_a_strength_stands_alone(pipe):
    with pytest.raises(InputError, match="give one of the two"):
        pipe("a ball", ["video"], {"video": Part(samples.clip(), spans=((0, 1),), strength=0.5)})


def test_a_strength_is_a_share_of_the_steps_that_a_scheduler_takes(pipe):
    own = Part(samples.picture(), strength=0.5)
    heun = pipe("a", ["image"], {"image": own}, num_inference_steps=4, scheduler="FlowMatchHeunDiscreteScheduler")
    assert heun.image.shape == (64, 64, 3)
    scheduler = prepared(FlowMatchHeunDiscreteScheduler(), 4, "cpu")
    assert (len(scheduler.timesteps), begins(scheduler, 0.5), begins(scheduler, 1.0), begins(scheduler, 0.01)) == (
        7,
        3,
        0,
        6,
    )
    assert begins(prepared(FlowMatchEulerDiscreteScheduler(), 100, "cpu"), 0.07) == 93
