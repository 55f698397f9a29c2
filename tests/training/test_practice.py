"""Practice runs: what users run is what bridges are trained on, and what may be asked of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codi import CoDiPipeline
from codi.training.critic import CRITICS, Critic
from codi.training.practice import STEPS, Leaders, Runs, became, rehearse
from codi.types import Tokens
from codi.worlds.sounding_shapes.factors import MOTIONS

PAIR = ("video", "audio")
FACTORS = 5


@pytest.fixture(scope="module")
def run_and_call(bundle):
    """A practice run, and the pipeline's latents after each step of the same call."""
    pipe = CoDiPipeline.from_pretrained(bundle, outputs=PAIR)
    engines = {name: pipe.engine(name) for name in PAIR}
    samplers = {name: getattr(pipe, f"{name}_scheduler") for name in PAIR}
    torch.manual_seed(0)
    critics: dict[str, Critic] = {name: CRITICS[name]() for name in PAIR}
    nothing, named = Tokens(torch.zeros(2, 8, 256)), torch.full((2, FACTORS), -1)
    run = rehearse(engines, samplers, nothing, named, critics, pipe.guidance, seed=7)
    after = []
    keep = lambda pipe, index, latents: after.append(dict(latents))  # noqa: E731
    options = {"bridge_renewal": 1.0, "num_inference_steps": STEPS, "num_outputs_per_prompt": 2}
    pipe(outputs=PAIR, seed=7, callback_on_step_end=keep, **options)
    return run, after


def test_a_run_passes_what_the_pipeline_passes(run_and_call):
    run, after = run_and_call
    for name in PAIR:
        assert len(run.latents[name]) == STEPS
        for k in range(1, STEPS):
            assert torch.allclose(run.latents[name][k], after[k - 1][name], atol=1e-4), (name, k)


def test_a_moment_has_the_levels_of_its_step_in_every_modality(run_and_call):
    run, _ = run_and_call
    noisy, levels = run.moments(np.random.default_rng(0))
    for row in range(2):
        (step,) = (k for k in range(STEPS) if run.levels["audio"][k] == levels["audio"][row])
        for name in PAIR:
            assert levels[name][row] == run.levels[name][step]
            assert torch.equal(noisy[name][0][row], run.latents[name][step, row])


def test_events_are_of_the_modality_that_is_settled_first(run_and_call):
    run, _ = run_and_call
    assert run.levels["audio"].sum() < run.levels["video"].sum()
    assert run.events is not None and run.events.shape == (2, 16) and set(run.events.unique().tolist()) <= {0.0, 1.0}


def _logits(values, sure=9.0):
    row = torch.zeros(1, 6)
    for value in values:
        row[0, value] = sure
    return row


def _ends(colour):
    ends = torch.full((1, FACTORS), -1)
    ends[0, 1] = colour
    return ends


OPEN = torch.full((1, FACTORS), -1)


def test_what_prompts_name_is_asked_and_else_what_the_leader_becomes():
    torch.manual_seed(0)
    ends = {"video": _ends(4), "audio": _ends(2)}
    tells, silent, wrong = ({"colour": _logits(values, 20.0)} for values in ([2], [0, 1, 2, 3, 4, 5], [5]))
    for other in (silent, wrong):
        assert Leaders().wanted({"video": other, "audio": tells}, ends, OPEN).tolist() == [[-1, 2, -1, -1, -1]]
    named = torch.tensor([[-1, 3, -1, -1, -1]])
    assert Leaders().wanted({"video": wrong, "audio": tells}, ends, named).tolist() == named.tolist()
    assert Leaders().wanted({"video": silent, "audio": wrong}, ends, OPEN).tolist() == OPEN.tolist(), "nobody tells"
    alone = {"video": {"shape": _logits([1], 20.0)}, "audio": tells}
    assert Leaders().wanted(alone, ends, OPEN).tolist() == OPEN.tolist(), "nobody to agree with"


def test_what_comes_anyway_is_not_asked_for():
    torch.manual_seed(0)
    leaders, usual, ends = Leaders(decay=0.5), {"colour": _logits([2], 3.0)}, {"video": _ends(2), "audio": _ends(2)}
    asked = [int(leaders.wanted({"video": usual, "audio": usual}, ends, OPEN)[0, 1]) for _ in range(60)]
    assert 2 in asked[:5] and set(asked[20:]) == {-1}
    surer = {"colour": _logits([2], 30.0)}
    assert leaders.wanted({"video": usual, "audio": surer}, ends, OPEN)[0, 1] == 2


@pytest.mark.parametrize(("motion", "tempo"), [(0, 1), (MOTIONS.index("still"), -1)])
def test_what_is_still_has_no_tempo(motion, tempo):
    read = {"motion": _logits([motion])[:, : len(MOTIONS)], "tempo": _logits([1])[:, :3]}
    assert became(read).tolist() == [[-1, -1, -1, motion, tempo]]


def test_a_run_is_used_several_times_and_old_ones_go():
    made = []

    def run(rng):
        made.append(len(made))
        return made[-1]

    runs, rng = Runs(run, every=3, kept=2), np.random.default_rng(0)
    drawn = [runs.draw(rng) for _ in range(12)]
    assert made == [0, 1, 2, 3]
    assert drawn[:3] == [0, 0, 0] and set(drawn[9:]) <= {2, 3}
