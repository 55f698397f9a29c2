"""Practice runs: what the pipeline makes is what bridges are trained on, and what may be asked of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codi import CoDiPipeline
from codi.training.critic import CRITICS, Critic
from codi.training.practice import STEPS, Leaders, Run, Runs, Standing, became, first_events, rehearse
from codi.types import ClipSpec, Tokens
from codi.worlds.sounding_shapes.factors import FACTORS as VALUES
from codi.worlds.sounding_shapes.factors import MOTIONS
from tests.samples import clicks

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
    run = rehearse(engines, samplers, nothing, named, critics, pipe.defaults, seed=7)
    after = []
    keep = lambda pipe, index, latents: after.append(dict(latents))  # noqa: E731
    options = {"bridge_renewal": 1.0, "num_inference_steps": STEPS, "num_outputs_per_prompt": 2}
    pipe(outputs=PAIR, seed=7, callback_on_step_end=keep, **options)
    return run, after


@pytest.fixture(scope="module")
def run_beside_and_call(bundle):
    """A practice run beside a sound, what stood in it, and the pipeline's latents after each step of the same call."""
    pipe = CoDiPipeline.from_pretrained(bundle, inputs="text", outputs="video", given="audio")
    engines = {name: pipe.engine(name) for name in PAIR}
    torch.manual_seed(0)
    prompt, named = Tokens(pipe.engine("text").prompt(["a ball"])), torch.tensor([[-1, 4, -1, -1, -1]])
    clip, shows = ClipSpec(), torch.tensor([[0, 3, 1, 2, 2]])
    events = torch.eye(16)[[5]]
    sound = engines["audio"].encode(clicks(), clip)
    standing = Standing("audio", sound, engines["audio"].clock(clip), shows, events)
    critics: dict[str, Critic] = {"video": CRITICS["video"]()}
    run = rehearse(engines, {"video": pipe.video_scheduler}, prompt, named, critics, pipe.defaults, 7, standing)
    after = []
    keep = lambda pipe, index, latents: after.append(latents["video"])  # noqa: E731
    options = {"weights": {"audio": 0.0}, "bridge_renewal": 1.0, "num_inference_steps": STEPS, "seed": 7}
    pipe("a ball", "video", {"audio": clicks()}, callback_on_step_end=keep, **options)
    return run, standing, after


def test_a_run_beside_a_given_passes_what_the_pipeline_passes(run_beside_and_call):
    run, _, after = run_beside_and_call
    for k in range(1, STEPS):
        assert torch.allclose(run.latents["video"][k], after[k - 1], atol=1e-4), k


def test_what_stands_in_a_run_stays_and_says_what_is_right(run_beside_and_call):
    run, standing, _ = run_beside_and_call
    assert all(torch.equal(latent, standing.latent) for latent in run.latents["audio"])
    _, levels = run.moments(np.random.default_rng(0))
    assert levels["audio"].tolist() == [0.0] and levels["video"] > 0
    assert run.became["audio"].tolist() == standing.shows.tolist() == [[0, 3, 1, 2, 2]]
    assert run.named.tolist() == [[0, 4, 1, 2, 2]], "the prompt goes first"
    assert run.events is standing.events


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


def test_events_are_of_the_modality_that_is_settled_first():
    one, other = torch.tensor([[3.0, -3.0]]), torch.tensor([[-3.0, 3.0]])
    early, late = torch.tensor([1.0, 0.4]), torch.tensor([1.0, 0.8])
    heats = {"video": one, "audio": other, "text": None}
    for video, audio, events in ((late, early, [[0.0, 1.0]]), (early, late, [[1.0, 0.0]])):
        found = first_events(heats, {"video": video, "audio": audio, "text": 0 * early})
        assert found is not None and found.tolist() == events
    assert first_events({"text": None}, {"text": early}) is None


def test_a_run_says_how_far_its_outputs_agree_and_how_much_alike_samples_are():
    named, colour = torch.full((4, FACTORS), -1), 1
    ends = {name: torch.full((4, FACTORS), -1) for name in PAIR}
    ends["video"][:, colour], ends["audio"][:, colour] = torch.tensor([2, 2, 2, 5]), torch.tensor([2, 2, 3, 1])
    named[3, colour] = 5
    run = Run(Tokens(torch.zeros(4, 8, 256)), named, {}, {}, {}, ends, None)
    figures = {name: float(value) for name, value in run.figures().items()}
    assert figures == {"run agreement": pytest.approx(2 / 3), "run mode": pytest.approx(5 / 6)}
    named[:] = 0
    assert {name: float(value) for name, value in run.figures().items()} == {"run agreement": 0, "run mode": 0}


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


def _wanted(video, audio, ends, named=OPEN):
    """Of leaders who have seen that nothing is usual."""
    leaders, even = Leaders(), {factor: torch.zeros(1, len(values)) for factor, values in VALUES.items()}
    nothing = {name: torch.full((1, FACTORS), -1) for name in PAIR}
    leaders.wanted(dict.fromkeys(PAIR, even), nothing, OPEN)
    return leaders.wanted({"video": video, "audio": audio}, ends, named)


def test_what_prompts_name_is_asked_and_else_what_the_leader_becomes():
    torch.manual_seed(0)
    ends = {"video": _ends(4), "audio": _ends(2)}
    tells, silent, wrong = ({"colour": _logits(values, 20.0)} for values in ([2], [0, 1, 2, 3, 4, 5], [5]))
    for other in (silent, wrong):
        assert _wanted(other, tells, ends).tolist() == [[-1, 2, -1, -1, -1]]
    named = torch.tensor([[-1, 3, -1, -1, -1]])
    assert _wanted(wrong, tells, ends, named).tolist() == named.tolist()
    assert _wanted(silent, wrong, ends).tolist() == OPEN.tolist(), "nobody tells"
    assert _wanted({"shape": _logits([1], 20.0)}, tells, ends).tolist() == OPEN.tolist(), "nobody to agree with"


def test_what_comes_anyway_is_not_asked_for():
    torch.manual_seed(0)
    leaders, usual, ends = Leaders(), {"colour": _logits([2], 3.0)}, {"video": _ends(2), "audio": _ends(2)}
    asked = [int(leaders.wanted({"video": usual, "audio": usual}, ends, OPEN)[0, 1]) for _ in range(20)]
    assert set(asked) == {-1}
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
