"""What the engine costs: ratios measured in one run, as Markdown on stdout.

    python benchmarks/pipeline.py [--model codi-mini] [--quick] [--plot cost.png]

What is compared is measured in turns, and a ratio is the median over the rounds of the ratio within each round, so
that a load on the machine that comes and goes falls on both sides alike.
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measure import PROMPT, SEED, Mark, Timing, called, clocked, count_flops, interleaved, ratio, seconds, table
from torch import nn

from codi import CoDiPipeline, InputError
from codi.bridge import gather
from codi.conditioning import null
from codi.guidance import Guidance
from codi.modality import Engine, registry
from codi.networks.clip_transformer import ClipTransformer
from codi.schedule import Noise
from codi.types import ClipSpec, Tokens

PAIR = ("video", "audio")
SCALE = Guidance().prompt
CLIP = ClipSpec()
CHEAPER: dict[str, dict[str, Any]] = {
    "": {},
    ", bridges in every step": {"bridge_start": 0.0, "bridge_end": 1.0},
    ", without the prompt in every step too": {"guidance_interval": 1},
}


@dataclass(frozen=True)
class Plan:
    """How much is measured; the first value of `steps`, `batches` and `durations` is where the others vary from.

    Attributes:
        rounds: repetitions of everything, interleaved.
        steps: at least 2 each; batches: samples of a call; durations: seconds.
        passes: repetitions of a single pass of a denoiser; pass_batches: batch sizes of it.
        joint_batches: samples of a call, joint against solo.
        warm_up: one more round first, not counted.
    """

    rounds: int = 3
    steps: tuple[int, ...] = (8, 4, 16, 32)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    durations: tuple[float, ...] = (2.0, 1.0, 3.0, 4.0)
    passes: int = 15
    pass_batches: tuple[int, ...] = (1, 8)
    joint_batches: tuple[int, ...] = (1, 8)
    warm_up: bool = True


QUICK = Plan(
    rounds=1,
    steps=(2, 4),
    batches=(1, 2),
    durations=(2.0, 1.0),
    passes=2,
    pass_batches=(1,),
    joint_batches=(1, 2),
    warm_up=False,
)


@dataclass(frozen=True)
class Point:
    """One row of the table of costs.

    Attributes:
        varies: what was varied from the base; value: to what.
        relative: cost over that of the base; seconds: of the call.
    """

    varies: str
    value: float
    relative: float
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all sections; the exit status."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    plan = QUICK if options.quick else Plan()
    try:
        pipe = CoDiPipeline.from_pretrained(options.model)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    pipe.set_progress_bar_config(disable=True)
    print(f"# Benchmarks of {options.model}\n\n{machine()}\n")
    against_bare(pipe, plan)
    joint_against_solo(pipe, plan)
    share_of_bridges(pipe, plan)
    flops(pipe, plan)
    points = cost(pipe, plan)
    if options.plot:
        plot(points, options.plot)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What the engine costs: ratios measured in one run.")
    parser.add_argument("--model", default="codi-mini", help="a shipped bundle or a folder")
    parser.add_argument("--quick", action="store_true", help="few and small: to see that it runs, not what it costs")
    parser.add_argument("--plot", type=Path, help="draw the table of costs into this PNG file")
    parser.add_argument("--threads", type=int, help="of torch; its own choice where not named")
    return parser


def machine() -> str:
    """What the figures hold for."""
    load = os.getloadavg()[0]
    return (
        f"torch {torch.__version__}, float32, {torch.get_num_threads()} threads on {os.cpu_count()} cores, "
        f"load average {load:.1f} at the start. Ratios are medians over the rounds (lowest to highest)."
    )


def makeable(pipe: CoDiPipeline) -> tuple[str, ...]:
    """The modalities that the bundle can make, the pair first."""
    loaded = {name for name, part in pipe.components.items() if part is not None}
    # A bundle may lack bridges; the rest is needed.
    optional = ("_bridge", "_environment_encoder")
    names = [
        name
        for name, modality in registry().items()
        if all(part in loaded or part.endswith(optional) for part in modality.generates)
    ]
    return tuple(sorted(names, key=lambda name: (name not in PAIR, PAIR.index(name) if name in PAIR else 0)))


# (a) The pipeline against a bare loop


def against_bare(pipe: CoDiPipeline, plan: Plan) -> None:
    """One output at a time, with and without guidance."""
    table(
        "The pipeline against a bare loop",
        f"{plan.steps[0]} steps of one output. The bare loop calls the same network, with diffusers' own attention "
        "processors (of video, which has two, the denoiser), and the same scheduler, and takes the two passes of "
        "guidance as one batch; both encode the prompt and decode. In turn: the bare loop takes the two passes one "
        "after the other. Difference: of the last latents, the largest, over their deviation.",
        ("output", "guidance", "step", "whole call", "step, in turn", "difference"),
        [bare_row(pipe, name, scale, plan) for name in makeable(pipe) for scale in (1.0, SCALE)],
    )


def bare_row(pipe: CoDiPipeline, name: str, scale: float, plan: Plan) -> tuple[str, ...]:
    steps = plan.steps[0]
    tasks = {
        "pipeline": lambda: called(pipe, [name], steps, guidance_scale=scale),
        "bare": lambda: bare_call(pipe, name, steps, scale),
        "turns": lambda: bare_call(pipe, name, steps, scale, batched=False),
    }
    if scale == 1:
        del tasks["turns"]
    ran = interleaved(tasks, plan.rounds, plan.warm_up)
    step = {task: [timing.step for timing in timings] for task, timings in ran.items()}
    whole = {task: [timing.whole for timing in timings] for task, timings in ran.items()}
    ours, theirs = (ran[task][0].latents[name] for task in ("pipeline", "bare"))
    return (
        name,
        f"{scale:g}",
        ratio(step["pipeline"], step["bare"]),
        ratio(whole["pipeline"], whole["bare"]),
        ratio(step["pipeline"], step["turns"]) if scale != 1 else "",
        f"{float((ours - theirs).abs().max() / theirs.std()):.0e}",
    )


def bare_call(pipe: CoDiPipeline, name: str, steps: int, scale: float, batched: bool = True) -> Timing:
    """Time the bare loop."""
    with torch.no_grad():
        return clocked(lambda mark: bare_loop(pipe, name, steps, scale, batched, mark))


def bare_loop(pipe: CoDiPipeline, name: str, steps: int, scale: float, batched: bool, mark: Mark) -> list[Any]:
    """What one would write by hand for one output."""
    engine = pipe.engine(name)
    scheduler = copy.deepcopy(getattr(pipe, f"{name}_scheduler"))
    scheduler.set_timesteps(steps)
    latent = Noise(SEED, name).white(engine.latent_shape(CLIP), 1) * getattr(scheduler, "init_noise_sigma", 1.0)
    prompt = pipe.engine("text").prompt([PROMPT])
    predict = predictor(engine, prompt, scale, batched)
    for index, time_step in enumerate(scheduler.timesteps):
        latent = scheduler.step(predict(latent, time_step), time_step, latent, return_dict=False)[0]
        mark(None, index, {name: latent})
    return engine.decode(latent, CLIP)


def predictor(
    engine: Engine, prompt: torch.Tensor, scale: float, batched: bool
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """(latent, time step) -> the guided prediction."""
    model, clock = network(engine), engine.clock(CLIP)
    said, nothing = prompt, torch.zeros_like(prompt)
    both = torch.cat([nothing, said])

    def run(latents: torch.Tensor, time_step: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        if isinstance(model, ClipTransformer):
            return engine.denoiser(latents, time_step.expand(len(latents)) / 1000, Tokens(states), clock).sample
        return model(latents, time_step.expand(len(latents)), encoder_hidden_states=states)[0]

    def predict(latents: torch.Tensor, time_step: torch.Tensor) -> torch.Tensor:
        if scale == 1:
            return run(latents, time_step, said)
        if batched:
            empty, full = run(torch.cat([latents, latents]), time_step, both).chunk(2)
        else:
            empty, full = run(latents, time_step, nothing), run(latents, time_step, said)
        return empty + scale * (full - empty)

    return predict


def network(engine: Engine) -> nn.Module:
    """The module that a denoiser runs."""
    return next(part for part in vars(engine.denoiser).values() if isinstance(part, nn.Module))


# (b) Joint generation against the sum of solo runs


def joint_against_solo(pipe: CoDiPipeline, plan: Plan) -> None:
    """The pair, and all that the bundle makes, by default, with bridges in every step, and with fewer passes."""
    names, steps = makeable(pipe), plan.steps[0]
    joint = [chosen for chosen in (names[:2], names) if len(chosen) > 1]
    cases = {" + ".join(chosen) + how: (chosen, 1, options) for how, options in CHEAPER.items() for chosen in joint}
    cases |= {f"{' + '.join(c)}, {n} samples": (c, n, {}) for n in plan.joint_batches[1:] for c in joint}
    tasks = {
        label: lambda chosen=chosen, n=n, options=options: called(
            pipe, chosen, steps, num_outputs_per_prompt=n, **options
        )
        for label, (chosen, n, options) in cases.items()
    }
    solo = [(name, n) for n in plan.joint_batches for name in names]
    tasks |= {
        (name, n): lambda name=name, n=n: called(pipe, [name], steps, num_outputs_per_prompt=n) for name, n in solo
    }
    ran = interleaved(tasks, plan.rounds, plan.warm_up)
    counted = {label: count_flops(task) for label, task in tasks.items()}

    def against_sum(label: str, kind: str) -> str:
        chosen, n, _ = cases[label]
        alone = [[getattr(timing, kind) for timing in ran[name, n]] for name in chosen]
        return ratio([getattr(timing, kind) for timing in ran[label]], [sum(row) for row in zip(*alone, strict=True)])

    table(
        "Joint generation against the sum of solo runs",
        f"{steps} steps, default guidance: with bridges a step takes up to three passes of each denoiser, a solo step "
        "two, which are one batch. By default bridges act in part of the steps, a sound among others is not guided, "
        "and the pass without the prompt is taken at every other step of what is joined. Operations are counted, "
        "decoding, bridges' own, companions and what prompts others included.",
        ("outputs", "operations", "step", "whole call"),
        [
            (
                label,
                f"{counted[label] / sum(counted[name, n] for name in chosen):.2f}",
                against_sum(label, "step"),
                against_sum(label, "whole"),
            )
            for label, (chosen, n, _) in cases.items()
        ],
    )


def share_of_bridges(pipe: CoDiPipeline, plan: Plan) -> None:
    """Parameters and operations of bridges and environment encoders beside those of the denoisers."""
    names = makeable(pipe)
    if len(names) < 2:
        return
    shown = {name: environment(pipe, name) for name in names}
    rows = []
    for name in names:
        parts = [getattr(pipe, f"{name}_{part}", None) for part in ("environment_encoder", "bridge")]
        added = sum(p.numel() for part in parts if part is not None for p in part.parameters())
        base = sum(p.numel() for p in network(pipe.engine(name)).parameters())
        partners = gather({other: tokens for other, tokens in shown.items() if other != name and tokens is not None})
        alone, read = (count_flops(one_pass(pipe, name, 1, seen)) for seen in (None, partners))
        spoken = count_flops(lambda name=name: environment(pipe, name)) - alone
        more = (read - alone + spoken) / alone
        rows.append((name, f"{base / 1e6:.2f}", f"{added / 1e6:.2f}", f"{alone / 1e9:.3g}", f"{more:.3f}"))
    table(
        "The bridges' share",
        "Parameters in millions; operations of a bridge-off pass, and what environment encoder and readers add to it "
        "where all others are read. Peak resident memory so far: "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB.",
        ("denoiser", "its parameters", "bridge's", "GFLOP a pass", "bridge adds"),
        rows,
    )


@torch.no_grad()
def environment(pipe: CoDiPipeline, name: str) -> Tokens | None:
    """What a modality shows of noise; None where it shows nothing."""
    engine, latent = pipe.engine(name), start(pipe, name, 1)
    if engine.environment is None:
        return None
    clock, level = engine.clock(CLIP), latent.new_full((1,), 0.9)
    features = engine.denoiser(latent, level, null(1, latent), clock).features
    seen = latent if engine.environment.reads_latent else features
    return Tokens(engine.environment(seen, level), engine.token_times(clock))


def start(pipe: CoDiPipeline, name: str, batch: int) -> torch.Tensor:
    """Noise of a modality."""
    return Noise(SEED, name).white(pipe.engine(name).latent_shape(CLIP), batch)


# (c) Achieved against attainable FLOP/s


def flops(pipe: CoDiPipeline, plan: Plan) -> None:
    """A pass of each denoiser, against a matrix product in the same rounds."""
    passes = {(name, batch): one_pass(pipe, name, batch) for name in makeable(pipe) for batch in plan.pass_batches}
    counted = {key: count_flops(run) for key, run in passes.items()}
    left, right = torch.randn(2, 1024, 1024)
    tasks = {f"{name} {batch}": lambda run=run: seconds(run) for (name, batch), run in passes.items()}
    ran = interleaved({"matmul": lambda: seconds(lambda: left @ right), **tasks}, plan.passes, plan.warm_up)
    attainable = [2 * 1024**3 / took for took in ran["matmul"]]
    rows = []
    for (name, batch), count in counted.items():
        achieved = [count / took for took in ran[f"{name} {batch}"]]
        rows.append(
            (name, str(batch), f"{count / 1e9:.3g}", f"{median(achieved) / 1e9:.3g}", ratio(achieved, attainable))
        )
    table(
        "Achieved against attainable FLOP/s",
        f"One pass, bridge off. Attainable: a 1024 x 1024 float32 matrix product in the same rounds, median "
        f"{median(attainable) / 1e9:.1f} GFLOP/s. A multiplication and an addition are two.",
        ("denoiser", "batch", "GFLOP", "GFLOP/s", "of attainable"),
        rows,
    )


def one_pass(pipe: CoDiPipeline, name: str, batch: int, partners: Tokens | None = None) -> Callable[[], object]:
    """A pass of a denoiser on noise."""
    engine, latent = pipe.engine(name), start(pipe, name, batch)
    prompt, clock, level = null(batch, latent), engine.clock(CLIP), latent.new_full((batch,), 0.9)
    return torch.no_grad()(lambda: engine.denoiser(latent, level, prompt, clock, partners).sample)


# (d) Cost against steps, batch, duration and number of outputs


def cost(pipe: CoDiPipeline, plan: Plan) -> list[Point]:
    """One variable at a time, the others at the base."""
    names = makeable(pipe)
    base: dict[str, Any] = {"steps": plan.steps[0], "batch": plan.batches[0], "duration": plan.durations[0]}
    base["outputs"] = min(2, len(names))
    varied: dict[str, Sequence[float]] = {
        "steps": plan.steps,
        "batch": plan.batches,
        "duration": plan.durations,
        "outputs": range(1, len(names) + 1),
    }
    settings = {(key, value): {**base, key: value} for key, values in varied.items() for value in sorted(values)}
    tasks = {f"{key} {value}": lambda at=at: sized(pipe, names, **at) for (key, value), at in settings.items()}
    ran = interleaved({"base": lambda: sized(pipe, names, **base), **tasks}, plan.rounds, warm_up=False)
    points = []
    for key, value in settings:
        took = ran[f"{key} {value}"]
        relative = median(a / b for a, b in zip(took, ran["base"], strict=True))
        points.append(Point(key, value, relative, median(took)))
    print_cost(points, base, names, median(ran["base"]))
    return points


def sized(pipe: CoDiPipeline, names: Sequence[str], steps: int, batch: int, duration: float, outputs: int) -> float:
    """Seconds of a joint call of that size."""
    return called(pipe, names[:outputs], steps, num_outputs_per_prompt=batch, duration=duration).whole


def print_cost(points: Sequence[Point], base: Mapping[str, Any], names: Sequence[str], took: float) -> None:
    table(
        "Cost against steps, batch, duration and outputs",
        f"Whole calls, over the base: {base['steps']} steps, {base['batch']} sample, {base['duration']:g} s, "
        f"{' + '.join(names[: base['outputs']])}, which took {took:.2f} s. Outputs are added in the order "
        f"{', '.join(names)}.",
        ("varied", "value", "cost", "seconds"),
        [(point.varies, f"{point.value:g}", f"{point.relative:.2f}", f"{point.seconds:.2f}") for point in points],
    )


def plot(points: Sequence[Point], path: Path) -> None:
    """The table of costs as a picture, one panel a variable."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    units = {"steps": "steps", "batch": "samples", "duration": "seconds of clip", "outputs": "outputs"}
    figure, panels = pyplot.subplots(1, len(units), figsize=(11, 2.8), sharey=True, layout="constrained")
    for panel, (varies, unit) in zip(panels, units.items(), strict=True):
        mine = [point for point in points if point.varies == varies]
        panel.plot([point.value for point in mine], [point.relative for point in mine], "o-")
        panel.set(xlabel=unit, xlim=(0, None), ylim=(0, None), xticks=[point.value for point in mine])
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("cost over the base")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
