"""The bridge stage: what it trains, and what it may ask."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from codi import CoDiPipeline
from codi.training import bridges
from codi.training.__main__ import configured
from codi.training.bridges import certainty, draw_pair_levels, judged
from codi.training.critic import CRITICS, ClipCritic
from codi.training.joint import joint_pass
from codi.training.telling import shown_facts, told_facts
from codi.types import ClipSpec, Tokens

PAIR = ("video", "audio")


@pytest.fixture
def engines(bundle):
    """Video and audio of the debug bundle, as the stage holds them: all frozen but what couples them."""
    loaded = CoDiPipeline.from_pretrained(bundle, outputs=PAIR)
    engines = {name: loaded.engine(name) for name in PAIR}
    for engine in engines.values():
        engine.denoiser.model.requires_grad_(False)
        engine.denoiser.port.bridge.requires_grad_(True)
        engine.environment.requires_grad_(True)
    return engines


def _made(engines, levels, bridged=True):
    torch.manual_seed(0)
    clip = ClipSpec()
    clean = {name: (torch.randn(2, *engine.latent_shape(clip)), engine.clock(clip)) for name, engine in engines.items()}
    return joint_pass(engines, clean, Tokens(torch.zeros(2, 8, 256)), levels, bridged)


def test_only_readers_and_environment_encoders_learn(engines):
    levels = {name: torch.full((2,), 0.9) for name in PAIR}
    torch.stack(list(_made(engines, levels).errors.values())).sum().backward()
    for engine in engines.values():
        moved = [p.grad is not None for p in engine.environment.parameters()]
        assert all(moved) and any(p.grad is not None for p in engine.denoiser.port.bridge.parameters())
        frozen = [p for p in engine.denoiser.model.parameters() if not p.requires_grad]
        assert frozen and all(p.grad is None for p in frozen)


def test_a_clean_side_shows_but_is_not_made(engines):
    levels = {"video": torch.zeros(2), "audio": torch.full((2,), 0.9)}
    assert set(_made(engines, levels).errors) == {"audio"}
    with torch.no_grad():
        on, off = (_made(engines, levels, bridged).seen.estimates["audio"] for bridged in (True, False))
    assert not torch.allclose(on, off, atol=1e-4)


def test_when_something_happens_is_known_as_far_as_the_least_noisy_of_those_that_show_it():
    high, clean = torch.tensor([0.5, 0.99]), torch.zeros(2)
    assert certainty({"video": high, "audio": high}, 0.96).tolist() == [1, 0]
    assert certainty({"video": high, "audio": clean}, 0.96).tolist() == [1, 1]
    assert certainty({"video": high, "audio": torch.full((2,), 0.6)}, 0.96).tolist() == [1, 1]
    assert certainty({"video": high, "image": clean, "text": clean}, 0.96).tolist() == [1, 0]
    assert certainty({"image": clean, "text": clean}, 0.96).tolist() == [0, 0]


def test_no_more_is_asked_than_somebody_tells():
    facts = torch.tensor([[0, 1, 1, 2, 1]] * 400 + [[5, 1, 1, 3, -1]] * 400)
    sure, even = torch.zeros(800, 6), torch.zeros(800, 6)
    sure[:, 1] = 20.0
    read = {"text": {"shape": even, "colour": sure}, "image": {"shape": even, "colour": even}}
    torch.manual_seed(0)
    seen = told_facts(read, facts)
    assert (seen[:, 1] == 1).all(), "the text is sure of the colour"
    assert (seen[:, [0, 2, 3, 4]] == -1).all(), "nobody tells the others"
    sure[:, 1] = torch.tensor(5.0).log()  # one half for the truth, a tenth for each of the others
    assert abs((told_facts(read, facts)[:, 1] == 1).float().mean() - 0.4) < 0.06
    sure[:, 1] = -20.0
    assert (told_facts({"text": {"colour": sure}}, facts) == -1).all(), "one who is wrong tells nothing"


def test_critics_are_asked_for_facts_and_moments_apart():
    torch.manual_seed(0)
    made = {"video": torch.randn(2, 12, 16, 8, 8), "text": torch.zeros(2)}
    facts, events, always = torch.tensor([[0, 1, 1, 2, 1]] * 2), torch.zeros(2, 16), torch.ones(2)
    critics = {"video": ClipCritic()}
    nothing = torch.full_like(facts, -1)
    wrong, late = judged(made, critics, nothing, events, always)
    assert wrong == 0 and late > 0
    wrong, late = judged(made, critics, facts, events, 0 * always)
    assert wrong > 0 and late == 0


def test_pairs_of_levels_are_mostly_the_same_sometimes_independent_sometimes_one_side_clean():
    rng, kinds = np.random.default_rng(0), {"same": 0, "clean": 0, "apart": 0}
    torch.manual_seed(0)
    for _ in range(600):
        one, two = draw_pair_levels(list(PAIR), 4, 8.0, rng).values()
        clean = not one.any() or not two.any()
        kinds["same" if torch.equal(one, two) else "clean" if clean else "apart"] += 1
    assert abs(kinds["same"] - 300) < 50 and abs(kinds["apart"] - 180) < 40 and abs(kinds["clean"] - 120) < 35


def test_the_same_step_of_two_samplers_is_less_noise_where_the_shift_is_less():
    levels = draw_pair_levels(list(PAIR), 64, 8.0, np.random.default_rng(0), same=1, samplers={"video": 12, "audio": 3})
    assert (levels["audio"] < levels["video"]).all()
    # Both at the step of the same number: what each shift makes of an even grid, undone, is the same.
    even = [level / (shift - (shift - 1) * level) for level, shift in ((levels["video"], 12), (levels["audio"], 3))]
    assert torch.allclose(*even, atol=1e-5)


def test_an_expert_of_another_kind_learns_on_its_own_noise(engines):
    seen = []

    def corrupt(clean, level):
        seen.append(clean.shape[1:])
        return torch.zeros_like(clean), torch.full_like(clean, 100.0), torch.ones(())

    clip, levels = ClipSpec(), {name: torch.full((2,), 0.9) for name in PAIR}
    clean = {name: (torch.randn(2, *engine.latent_shape(clip)), engine.clock(clip)) for name, engine in engines.items()}
    prompt = Tokens(torch.zeros(2, 8, 256))
    with torch.no_grad():
        made = joint_pass(engines, clean, prompt, levels, corruptions={"audio": corrupt}).errors
    assert seen == [engines["audio"].latent_shape(clip)]
    assert made["audio"] > 5000 and made["video"] < 100


class FewScenes:
    """Two scenes, as `Clips` has thousands."""

    clips = np.arange(2)
    facts = torch.tensor([[0, 1, 1, 2, 1], [5, 1, 1, 3, -1]])
    events = torch.zeros(2, 16)

    def draw(self, engines, rng, batch):
        clip, rows = ClipSpec(), rng.choice(self.clips, batch)
        latents = {name: torch.randn(batch, *engine.latent_shape(clip)) for name, engine in engines.items()}
        return {name: (z, engines[name].clock(clip)) for name, z in latents.items()}, rows


class NoWords:
    """Prompts that name nothing."""

    def draw(self, facts, rng):
        return Tokens(torch.zeros(len(facts), 8, 256)), torch.full_like(facts, -1)


@pytest.fixture
def objective(engines, monkeypatch):
    """The stage's objective on two scenes, before critics that have learnt nothing."""
    monkeypatch.setattr(bridges, "Clips", FewScenes)
    monkeypatch.setattr(bridges.latents, "Prompts", NoWords)
    monkeypatch.setattr(bridges, "load_critic", lambda name: CRITICS[name]().requires_grad_(False))
    settings = configured("bridges", ["fit.batch=2", "practice=0.5", "runs.every=2", "runs.kept=1"])[1]
    settings.sets = {"+".join(PAIR): 1.0}
    torch.manual_seed(0)
    return bridges.Objective(engines, settings)


def test_every_second_step_is_of_a_run_and_all_teach_bridges_and_told_heads_alone(objective, engines):
    for step in range(4):
        losses = objective.loss(np.random.default_rng(step), 2)
        assert ("run wrong" in losses) == bool(step % 2) and torch.isfinite(losses["loss"])
        losses["loss"].backward()
        learnt = [engine.environment for engine in engines.values()] + [objective.told]
        for module in learnt:
            assert any(p.grad is not None and p.grad.any() for p in module.parameters()), step
            module.zero_grad()
        for engine in engines.values():
            assert all(p.grad is None for p in engine.denoiser.model.parameters() if not p.requires_grad)


def _hashes(engine):
    """Of the base's weights, and of those of its readers."""
    base, readers = hashlib.sha256(), hashlib.sha256()
    learnt = {id(p) for p in engine.denoiser.port.bridge.parameters()}
    for _, weight in sorted(engine.denoiser.model.named_parameters()):
        (readers if id(weight) in learnt else base).update(weight.detach().numpy().tobytes())
    for weight in engine.denoiser.port.bridge.parameters():
        readers.update(weight.detach().numpy().tobytes())
    return base.hexdigest(), readers.hexdigest()


def test_bases_hash_the_same_after_training_and_bridges_do_not(objective, engines):
    before = {name: _hashes(engine) for name, engine in engines.items()}
    parts = [part for e in engines.values() for part in (e.denoiser.model, e.denoiser.port.bridge, e.environment)]
    weights = {id(weight): weight for part in parts for weight in part.parameters()}
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-3)
    for step in range(2):
        objective.loss(np.random.default_rng(step), 2)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, engine in engines.items():
        base, readers = _hashes(engine)
        assert base == before[name][0] and readers != before[name][1]


def test_a_run_serves_as_many_steps_as_the_settings_say(objective):
    runs = []
    for step in range(8):
        objective.loss(np.random.default_rng(step), 2)
        runs.append(objective.runs.kept[-1] if objective.runs.kept else None)
    assert [runs[k] is runs[k - 2] for k in (3, 5, 7)] == [True, False, True]


@pytest.mark.parametrize("side", PAIR)
def test_a_run_beside_a_given_asks_for_what_that_shows(objective, side):
    objective.settings.practice_given, objective.settings.given = 1.0, side
    for step in range(2):
        losses = objective.loss(np.random.default_rng(step), 2)
    (run,) = objective.runs.kept
    assert torch.isfinite(losses["loss"]) and run.levels[side].tolist() == [0.0] * len(run.levels[side])
    assert torch.equal(run.named, run.became[side]) and run.events is not None


def test_a_side_that_a_set_lacks_is_another_of_the_set(objective):
    objective.settings.practice_given, objective.settings.given = 1.0, "text"
    for step in range(2):
        objective.loss(np.random.default_rng(step), 2)
    (run,) = objective.runs.kept
    assert sum(not levels.any() for levels in run.levels.values()) == 1


def test_a_picture_shows_no_motion_and_no_tempo():
    facts = torch.tensor([[1, 2, 0, 3, 1]])
    assert shown_facts("image", facts).tolist() == [[1, 2, 0, -1, -1]]
    assert shown_facts("audio", facts).tolist() == facts.tolist()
