"""Small experts and the unified model, untrained: who sees whom, and what a step teaches."""

import numpy as np
import pytest
import torch

from codi.ablations import small
from codi.ablations.arms import build, load_arms
from codi.ablations.components import GRIDS, Bare
from codi.ablations.small import Beside, StreamTransformer, UnifiedDenoiser, UnifiedGuidance, View
from codi.ablations.training import engines_of, uniting
from codi.modality import registry
from codi.training import latents
from codi.types import ClipSpec, Tokens

SHAPES = {"video": (12, 16, 8, 8), "audio": (16, 4, 32)}
CLOCKS = {name: registry()[name].engine()({}).clock(ClipSpec()) for name in GRIDS}


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = StreamTransformer(tuple(GRIDS), width=32, layers=3, heads=2).requires_grad_(False)
    for layer in made.leave.values():
        torch.nn.init.normal_(layer.weight, std=0.1)
    return made


def _noisy(seed):
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(2, *shape, generator=random) for name, shape in SHAPES.items()}


PROMPT = Tokens(torch.ones(2, 8, 256))
LEVEL = torch.tensor([0.4, 0.9])


@pytest.mark.parametrize("name", GRIDS)
def test_tokens_unfold_to_what_was_folded(name):
    latent = _noisy(1)[name]
    assert torch.equal(GRIDS[name].unfold(GRIDS[name].fold(latent)), latent)


@pytest.mark.parametrize("name", GRIDS)
def test_a_unified_model_reads_its_partner_as_its_own_sequence_holds_it(name, net):
    (other,) = (n for n in GRIDS if n != name)
    noisy, level = _noisy(1), torch.tensor([0.7, 0.2])
    tokens = Bare(GRIDS[other])(noisy[other], level)
    times = CLOCKS[other].repeat_interleave(GRIDS[other].slots)
    run = UnifiedDenoiser(name, net, type("Former", (), {"painter": None}))
    read = run(noisy[name], LEVEL, PROMPT, CLOCKS[name], Tokens(tokens, times)).sample
    both = net(noisy, {name: LEVEL, other: level}, PROMPT.states, CLOCKS)[name][0]
    assert torch.allclose(read, both, atol=1e-5)
    alone = run(noisy[name], LEVEL, PROMPT, CLOCKS[name]).sample
    assert not torch.allclose(read, alone, atol=1e-3)
    assert torch.equal(alone, run(noisy[name], LEVEL, PROMPT, CLOCKS[name]).sample)


def test_equal_times_are_what_the_clock_tells_a_unified_model(net):
    noisy, later = _noisy(1), CLOCKS["audio"] + 0.5
    view = [
        View(net, "video", Beside(noisy["audio"], LEVEL, clock))(noisy["video"], 1000 * LEVEL, PROMPT.states, own)[0]
        for clock, own in ((CLOCKS["audio"], CLOCKS["video"]), (later, CLOCKS["video"]), (later, CLOCKS["video"] + 0.5))
    ]
    assert not torch.allclose(view[0], view[1], atol=1e-4)
    assert torch.allclose(view[0], view[2], atol=1e-4)  # seconds count from each other, not from zero


def test_a_unified_models_guidance_is_that_of_the_prompt_beside_the_partner():
    assert {(t.prompted, t.bridged): t.weight for t in UnifiedGuidance(3.0, 1.0).terms(True)} == {
        (False, True): -2.0,
        (True, True): 3.0,
    }
    for partners in (True, False):
        assert sum(t.weight for t in UnifiedGuidance(3.0, 2.5).terms(partners)) == pytest.approx(1)
    assert not any(t.bridged for t in UnifiedGuidance(3.0, 0.0).terms(True))


class _Scenes:
    count, facts = 8, torch.zeros(8, 5, dtype=torch.long)

    def latents(self, rows):
        return {name: torch.randn(len(rows), *shape) for name, shape in SHAPES.items()}


class _Prompts:
    def draw(self, facts, rng):
        return Tokens(torch.zeros(len(facts), 8, 256), None, torch.zeros(len(facts), 8)), facts


@pytest.mark.parametrize("clean", [0.0, 1.0])
def test_a_step_teaches_both_streams_but_one_that_is_clean(clean, pipe, monkeypatch):
    monkeypatch.setattr(latents, "Prompts", _Prompts)
    arm = load_arms()["unified"]
    arm = type(arm)(**{**vars(arm), "clean": clean, "same": 1 - clean})
    made = build(arm, pipe.components)
    monkeypatch.setattr("codi.ablations.training.ALONE", 0.0)
    loss = uniting(arm, made.modules, engines_of(pipe.components, made), _Scenes())(np.random.default_rng(0), 2)["loss"]
    loss.backward()
    taught = [bool(layer.weight.grad is not None and layer.weight.grad.any()) for layer in _leaving(made)]
    assert sorted(taught) == ([False, True] if clean else [True, True])


def test_a_share_of_steps_has_noise_for_a_partner(pipe, monkeypatch):
    monkeypatch.setattr(latents, "Prompts", _Prompts)
    monkeypatch.setattr("codi.ablations.training.ALONE", 1.0)
    arm = load_arms()["unified"]
    made, seen = build(arm, pipe.components), []
    made.modules["unified"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    loss = uniting(arm, made.modules, engines_of(pipe.components, made), _Scenes())
    for seed in range(6):
        loss(np.random.default_rng(seed), 2)
    alone = [{name for name, level in levels.items() if (level == 1).all()} for levels in seen]
    assert all(alone) and {"video", "audio"} <= set().union(*alone)


def test_an_expert_is_trained_once_and_leaves_the_callers_draws_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("CODI_RUNS", str(tmp_path))
    monkeypatch.setattr(small, "STEPS", {"audio": 2})
    monkeypatch.setattr(small, "EXPERT", {"width": 32, "layers": 3, "heads": 2})
    monkeypatch.setattr(latents, "Prompts", _Prompts)
    monkeypatch.setattr(latents, "load", lambda name: np.zeros((8, *SHAPES[name]), np.float16))
    monkeypatch.setattr(latents, "stored", lambda name: 8)
    drawn = []
    for _ in range(2):
        torch.manual_seed(9)
        drawn.append((small.expert("audio").state_dict(), torch.rand(3)))
    (first, one), (again, two) = drawn
    assert all(torch.equal(first[key], again[key]) for key in first) and torch.equal(one, two)
    assert not any(parameter.requires_grad for parameter in small.expert("audio").parameters())


def _leaving(made):
    return [made.modules["unified"].leave[name] for name in GRIDS]
