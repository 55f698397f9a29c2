"""The arms of the comparison, untrained: what each lets across, and what it leaves alone."""

import numpy as np
import pytest
import torch

from codi.ablations.arms import Arm, build, guidance_of, load_arms
from codi.ablations.experts import CLOCKS, MEDIA
from codi.ablations.joins import PositionBridge
from codi.ablations.processes import PROCESSES
from codi.ablations.training import draw_shares, velocities
from codi.types import ClipSpec, Tokens

ARMS = load_arms()
CLEAN = {
    name: torch.randn(2, m.channels, round(2 * m.rate), m.side, m.side, generator=torch.Generator().manual_seed(1))
    for name, m in MEDIA.items()
}
SHARES = {name: torch.tensor([0.3, 0.6]) for name in MEDIA}
PROMPT = Tokens(torch.randn(2, 8, 256, generator=torch.Generator().manual_seed(2)))


@pytest.fixture(scope="module")
def experts():
    torch.manual_seed(0)
    made = {name: medium.network(64, 3) for name, medium in MEDIA.items()}
    for model in made.values():
        torch.nn.init.normal_(model.leave.weight, std=0.1)
    return made


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr("codi.ablations.experts.WIDTH", 64)


def stirred(arm: Arm, experts):
    """The arm with weights that let something across."""
    torch.manual_seed(3)
    made = build(arm, experts)
    for parameter in made.modules.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def errors(arm: Arm, made, clean=CLEAN, joint=True) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    found = velocities(made.engines, clean, PROMPT, SHARES, guidance_of(arm) if joint else None)
    return {name: estimate for name, (_, estimate) in found.items()}


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if arm.join in ("attention", "added")])
def test_readers_begin_as_nothing(name, experts):
    made = build(ARMS[name], experts)
    with torch.no_grad():
        alone, joint = errors(ARMS[name], made, joint=False), errors(ARMS[name], made)
    for medium in MEDIA:
        assert torch.equal(alone[medium], joint[medium])


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if arm.steps])
def test_the_partner_matters_unless_an_arm_reads_itself(name, experts):
    made = stirred(ARMS[name], experts)
    other = CLEAN | {"video": CLEAN["video"].flip(2)}
    one, two = errors(ARMS[name], made), errors(ARMS[name], made, other)
    assert torch.allclose(one["audio"], two["audio"], atol=1e-6) == ARMS[name].own


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if arm.steps])
def test_everything_that_is_trained_has_a_gradient(name, experts):
    made = stirred(ARMS[name], experts)
    for model in experts.values():
        model.requires_grad_(False)
    sum(estimate.square().sum() for estimate in errors(ARMS[name], made).values()).backward()
    idle = {n for n, p in made.modules.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle <= {"discriminator.leave.bias"}  # what a logit's gradient does not hold; its loss teaches it


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_process_finds_the_clean_latent_in_what_it_asks_for(process):
    level = process.level(torch.tensor([0.0, 0.4, 0.9]))
    clean = torch.randn(3, 4, 5)
    noisy, target = process.noised(clean, level)
    assert torch.allclose(process.estimate(noisy, level, target), clean, atol=1e-4)
    assert torch.equal(noisy[0], clean[0])


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_processs_sampler_ends_where_its_targets_point(process):
    clean, scheduler = torch.randn(1, 4, 5), process.scheduler()
    scheduler.set_timesteps(8)
    level = (scheduler.timesteps[:1] / 1000).float()
    latent, noise = process.noised(clean, level)[0], None
    for moment in scheduler.timesteps:
        now = (moment.reshape(1) / 1000).float()
        zero = process.estimate(torch.zeros_like(clean), now, torch.ones_like(clean))  # linear in both arguments
        one = process.estimate(latent, now, torch.zeros_like(clean))
        noise = (clean - one) / zero
        latent = scheduler.step(noise, moment, latent, return_dict=False)[0]
    assert torch.allclose(latent, clean, atol=0.02)


def test_the_index_clock_is_that_of_seconds_at_the_rate_of_training_alone(experts):
    engine = build(ARMS["ours"], experts).engines["video"]
    at, faster = (engine.clock(ClipSpec(fps=fps)) for fps in (8.0, 12.0))
    assert torch.equal(CLOCKS["index"](at, 8.0), at)
    assert not torch.equal(CLOCKS["index"](faster, 8.0), faster)
    assert CLOCKS["none"](at, 8.0).isnan().all()


def test_what_is_added_is_what_the_partner_shows_at_that_moment():
    bridge = PositionBridge({"site": 4})
    for parameter in bridge.readers.parameters():
        torch.nn.init.ones_(parameter)
    states = torch.zeros(1, 8, 192)
    states[:, 4:6] = 3.0  # two slots at the third of four moments
    times = torch.tensor([0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0], dtype=torch.float64)
    prepared = bridge.prepare(Tokens(states, times))
    moments = torch.tensor([0.0, 1.5, 2.0], dtype=torch.float64)
    read = bridge.read("site", torch.zeros(1, 3, 4), moments, prepared)[0, :, 0]
    assert torch.allclose(read[1], (read[0] + read[2]) / 2, atol=1e-4) and not torch.allclose(read[0], read[2])


@pytest.mark.parametrize("levels", ["mixed", "same"])
def test_levels_are_drawn_as_an_arm_says(levels):
    drawn = [draw_shares(np.random.default_rng(n), 4, levels) for n in range(200)]
    same = np.mean([torch.equal(d["video"], d["audio"]) for d in drawn])
    clean = np.mean([not d["video"].any() or not d["audio"].any() for d in drawn])
    assert (same, clean) == (1, 0) if levels == "same" else (0.4 < same < 0.6 and 0.1 < clean < 0.3)
