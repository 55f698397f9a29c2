"""The command `codi`. Bad input is one line on stderr and status 2; torch is imported when a model runs."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from typer.exceptions import Exit, TyperException

from codi.apps import arguments
from codi.types import InputError

app = typer.Typer(
    help="Any set of text, image, audio and video in, any set out.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
world = typer.Typer(help="The world that codi-mini is trained on.", rich_markup_mode=None)
app.add_typer(world, name="world")
train = typer.Typer(help="Train parts of a bundle.", rich_markup_mode=None)
app.add_typer(train, name="train")

Many: TypeAlias = list[str] | None
Model = Annotated[str, typer.Option(help="A bundle: codi-mini, codi-v1, or a folder.")]


@app.command()
def generate(  # noqa: PLR0913  the options of the command
    inputs: Annotated[Many, typer.Option(help='What prompts: text="...", image=cat.png, bare files or text.')] = None,
    given: Annotated[
        Many, typer.Option(help="What stands: video=clip.mp4, image@0.5=a.png, video@0:1=a.mp4, video@~0.8=a.mp4.")
    ] = None,
    outputs: Annotated[Many, typer.Option(help="The modalities to make.")] = None,
    out: Annotated[Path, typer.Option(help="The folder for the files.")] = Path("out"),
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Denoising steps (codi-mini: 20).")] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="How strongly the inputs steer (codi-mini: 3; with others clips 1.5, sounds 1 to 1.5)."),
    ] = None,
    bridge: Annotated[float | None, typer.Option(help="How strongly outputs steer each other; 0: not.")] = None,
    bridge_start: Annotated[
        float | None,
        typer.Option(
            help="Share of the steps from which outputs steer each other (clips 0.25); named alone: to the end."
        ),
    ] = None,
    bridge_end: Annotated[
        float | None,
        typer.Option(
            help="Share of the steps until which they do (clips 0.85, texts 0.5, some less); named alone: from 0."
        ),
    ] = None,
    guidance_end: Annotated[
        float | None, typer.Option(help="Share of the steps after which the prompt guides no more.")
    ] = None,
    guidance_interval: Annotated[
        int | None,
        typer.Option(help="Steps from one look without the prompt to the next (codi-mini: 1; with others 2)."),
    ] = None,
    bridge_renewal: Annotated[
        float | None, typer.Option(help="Noise level above which outputs that read others get new noise; 1: never.")
    ] = None,
    bridge_prompting: Annotated[
        float | None,
        typer.Option(help="Noise level below which outputs prompt each other; 0: never (codi-mini: a text, 0.55)."),
    ] = None,
    num: Annotated[int, typer.Option(help="Results of each output.")] = 1,
    negative: Annotated[Many, typer.Option(help="What to keep away from, written as inputs are.")] = None,
    weights: Annotated[Many, typer.Option(help="Weights of inputs and givens: text=1,image=.5.")] = None,
    duration: Annotated[
        float | None, typer.Option(help="Length in seconds (codi-mini: 2; with sound, eighths of one).")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Video frames per second (codi-mini: 8).")] = None,
    size: Annotated[int | None, typer.Option(help="Side of pictures and frames in pixels (64; 32s of them).")] = None,
    companions: Annotated[
        Many,
        typer.Option(help="Made along, not written; or none (codi-mini: text with a picture among others)."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Another sampler of diffusers, such as UniPCMultistepScheduler.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    model: Model = "codi-mini",
    no_recipe: Annotated[bool, typer.Option("--no-recipe", help="Leave the recipe out of the files.")] = False,
) -> None:
    """Make all outputs together from the inputs and givens."""
    from codi.apps import request
    from codi.bundles import find_bundle

    numbers = _numbers(seed, steps, guidance, bridge, num, duration, fps, size)
    numbers |= _shares(
        bridge_start=bridge_start,
        bridge_end=bridge_end,
        guidance_end=guidance_end,
        bridge_renewal=bridge_renewal,
        bridge_prompting=bridge_prompting,
    )
    if guidance_interval is not None:
        numbers["guidance_interval"] = arguments.whole("--guidance-interval", guidance_interval, 1, 1000)
    if dtype not in request.DTYPES:
        raise InputError(f"--dtype {dtype}", "is not a number format", f"choose among {', '.join(request.DTYPES)}")
    wanted = arguments.check_outputs(outputs or [], ())
    find_bundle(model)
    stand = arguments.check_given(arguments.read_sources(given or [], "--given"))
    arguments.check_outputs(wanted, [source.modality for source in stand if not source.partial])
    arguments.check_parts(stand, wanted)
    prompts = arguments.read_sources(inputs or [], "--inputs")
    if not prompts and not stand:
        raise InputError("--inputs", "is missing", 'give at least one input or given, as in text="a red circle"')
    if weights:
        numbers["weights"] = arguments.weights(weights, {source.modality for source in (*prompts, *stand)})
    if scheduler is not None:
        numbers["scheduler"] = scheduler
    if companions is not None:
        numbers["companions"] = arguments.companions(companions, [*wanted, *(source.modality for source in stand)])
    against = arguments.read_sources(negative or [], "--negative")
    _make(request.Request(prompts, stand, wanted, numbers, against, model, device, dtype), out, not no_recipe)


def _numbers(
    seed: int,
    steps: int | None,
    guidance: float | None,
    bridge: float | None,
    num: int,
    duration: float | None,
    fps: float | None,
    size: int | None,
) -> dict[str, Any]:
    """Checked numbers under the pipeline's names; those left out are left to the pipeline."""
    values: dict[str, Any] = {
        "seed": arguments.whole("--seed", seed, 0, 2**63 - 1),
        "num_outputs_per_prompt": arguments.whole("--num", num, 1, 1024),
        "num_inference_steps": None if steps is None else arguments.whole("--steps", steps, 1, 1000),
        "guidance_scale": None if guidance is None else arguments.number("--guidance", guidance),
        "bridge_scale": None if bridge is None else arguments.number("--bridge", bridge),
        "duration": None if duration is None else arguments.number("--duration", duration, maximum=600, above=True),
        "fps": None if fps is None else arguments.number("--fps", fps, maximum=240, above=True),
        "size": None if size is None else arguments.whole("--size", size, 1, 4096),
    }
    return {name: value for name, value in values.items() if value is not None}


def _shares(**shares: float | None) -> dict[str, float]:
    """Checked shares of the steps under the pipeline's names."""
    named = {name: value for name, value in shares.items() if value is not None}
    return {name: arguments.number(f"--{name.replace('_', '-')}", value, maximum=1) for name, value in named.items()}


def _make(wanted: Any, out: Path, keep_recipe: bool, threads: int | None = None) -> None:
    from codi.apps.request import fulfil

    for file in fulfil(wanted, out, keep_recipe, threads):
        typer.echo(file)


@app.command()
def rerun(
    file: Annotated[Path, typer.Argument(help="A file that codi generate made.")],
    out: Annotated[Path | None, typer.Option(help="The folder for the files; rerun/ beside the file.")] = None,
) -> None:
    """Replay the recipe inside a file: the same bytes on the same machine."""
    from codi.apps import recipe
    from codi.bundles import bundle_hash, find_bundle

    kept = recipe.read(file)
    wanted = recipe.request(kept, str(file))
    if kept.get("bundle") != bundle_hash(find_bundle(wanted.model)):
        typer.echo(f"{file}: was made with other weights than {wanted.model} holds now; the result differs", err=True)
    _make(wanted, out or file.parent / "rerun", True, kept.get("threads"))


@app.command()
def show(file: Annotated[Path, typer.Argument(help="A media file.")]) -> None:
    """What a file holds, and the recipe inside."""
    from codi.apps import recipe

    for line in recipe.summary(file):
        typer.echo(line)


@app.command()
def info(
    model: Model = "codi-mini",
    inputs: Annotated[Many, typer.Option(help="Modalities that would prompt: say what such a request loads.")] = None,
    given: Annotated[Many, typer.Option(help="Modalities that would be given.")] = None,
    outputs: Annotated[Many, typer.Option(help="Modalities that would be made.")] = None,
    companions: Annotated[Many, typer.Option(help="As of codi generate.")] = None,
) -> None:
    """The parts of a bundle: parameters and bytes; with modalities, those that such a request loads."""
    from codi.bundles import components, find_bundle

    folder = find_bundle(model)
    parts = list(components(folder))
    typer.echo(folder)
    if inputs or given or outputs:
        from codi.apps.request import needed

        prompts, stand, makes = (
            [arguments.check_modality(name) for name in names or []] for names in (inputs, given, outputs)
        )
        along = None if companions is None else arguments.companions(companions, [*stand, *makes])
        chosen = needed(folder, prompts, stand, makes, along)
        parts = [part for part in parts if part.part in chosen]
    width = max((len(part.name) for part in parts), default=5)
    for part in parts:
        typer.echo(f"{part.name:{width}}  {part.parameters:>14,} parameters  {part.size:>15,} bytes")
    parameters, size = sum(part.parameters for part in parts), sum(part.size for part in parts)
    typer.echo(f"{'total':{width}}  {parameters:>14,} parameters  {size:>15,} bytes")


@app.command()
def doctor(model: Model = "codi-mini") -> None:
    """Whether this installation is whole, and what to do where it is not; status 1 if something is amiss."""
    from codi.apps.doctor import examine

    findings = examine(model)
    for finding in findings:
        typer.echo(f"{'!!' if finding.remedy else 'ok'}  {finding.what}")
        if finding.remedy:
            typer.echo(f"    -> {finding.remedy}")
    if any(finding.remedy for finding in findings):
        raise Exit(1)


@app.command()
def mcp(
    root: Annotated[Path, typer.Option(help="The folder that assistants may read and write; made if missing.")],
    model: Model = "codi-mini",
    waiting: Annotated[int, typer.Option(help="Requests that may wait while one runs.")] = 8,
) -> None:
    """Serve the Model Context Protocol on standard input and output, for assistants."""
    arguments.whole("--waiting", waiting, 0, 1000)
    _extra("mcp", "mcp")
    from codi.apps.mcp_server import server

    server(model, root, waiting).run("stdio")


@app.command()
def web(
    model: Model = "codi-mini",
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than this machine's own need it.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="The port; a free one from 7860 on.")] = None,
    waiting: Annotated[int, typer.Option(help="Requests that may wait while one runs.")] = 8,
) -> None:
    """Serve a page for the browser."""
    arguments.whole("--waiting", waiting, 0, 1000)
    _extra("gradio", "web")
    from codi.apps.web import serve

    serve(model, host, port, waiting)


def _extra(module: str, extra: str) -> None:
    """Refuse where an optional part is not installed."""
    if find_spec(module) is None:
        raise InputError(f"codi {extra}", f"needs {module}", f"run pip install 'codi-engine[{extra}]'")


Backbone = Annotated[str, typer.Argument(help="Whose weights: codi-v1.")]
Format = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16; as in the files where left out.")]
Mode = Annotated[str, typer.Option(help="official: as released; partner: as the paper describes, for retraining.")]


@app.command()
def convert(
    backbone: Backbone,
    source: Annotated[Path, typer.Option("--from", help="The folder that holds the published files.")],
    target: Annotated[Path, typer.Option("--to", help="The bundle's folder; it must not exist.")],
    dtype: Format = None,
    mode: Mode = "official",
) -> None:
    """Published weights -> a bundle."""
    from codi.apps.weights import convert as run_conversion

    run_conversion(backbone, source, target, dtype, mode, typer.echo)


@app.command()
def pull(
    backbone: Backbone,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the repository.")] = None,
    target: Annotated[Path | None, typer.Option("--to", help="The bundle's folder; the user's cache.")] = None,
    dtype: Format = None,
    mode: Mode = "official",
) -> None:
    """Fetch published weights from the hub and convert them; what was fetched before is not fetched again."""
    from codi.apps.weights import pull as run_pull

    run_pull(backbone, revision, target, dtype, mode, typer.echo)


@train.command()
def bridge(
    model: Annotated[str, typer.Option(help="A codi-v1 bundle in partner mode.")],
    data: Annotated[Path, typer.Option(help="Clips with sound, each with a .txt caption of the same name.")],
    target: Annotated[Path, typer.Option("--to", help="The new bundle's folder; it must not exist.")],
    outputs: Annotated[Many, typer.Option(help="The modalities to bridge.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of the optimiser.")] = 1000,
    batch: Annotated[int, typer.Option(help="Examples a step.")] = 8,
    rate: Annotated[float, typer.Option("--lr", help="Peak learning rate.")] = 1e-4,
    size: Annotated[int | None, typer.Option(help="Side of pictures and frames in pixels.")] = None,
) -> None:
    """Retrain the bridges of a bundle; its bases stay what they are. A run that was stopped goes on where it was."""
    arguments.whole("--steps", steps, 1, 10**7)
    arguments.whole("--batch", batch, 1, 4096)
    arguments.number("--lr", rate, maximum=1.0, above=True)
    wanted = arguments.check_outputs(outputs or ["video", "audio"], ())
    if not data.is_dir():
        raise InputError(str(data), "is no folder", "give one that holds clips and their captions")
    from codi.training.codi_v1_bridges import retrain
    from codi.training.loop import FitConfig

    config = FitConfig(steps=steps, batch=batch, lr=rate, hours=10**6)
    typer.echo(retrain(model, data, target, wanted, config, size))


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option(help="The folder for samples, figures and the page.")],
    model: Annotated[str, typer.Option(help="A bundle, or oracle: what a perfect model would score.")] = "codi-mini",
    suite: Annotated[str, typer.Option(help="The world to measure in: sounding-shapes.")] = "sounding-shapes",
    quick: Annotated[bool, typer.Option("--quick", help="Few samples: minutes instead of hours.")] = False,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    seed: Annotated[int, typer.Option(help="Of prompts and noise.")] = 1,
) -> None:
    """Measure a bundle: figures as JSON and Markdown, and one page. A run that was stopped goes on where it was."""
    options = {} if steps is None else {"num_inference_steps": arguments.whole("--steps", steps, 1, 1000)}
    arguments.whole("--seed", seed, 0, 2**31)
    from codi.apps.evaluation import run as run_evaluation

    typer.echo(run_evaluation(model, suite, out, options, quick, seed))


@world.command()
def preview(
    out: Annotated[Path, typer.Option(help="The folder for the files.")] = Path("out"),
    seed: Annotated[int, typer.Option(help="Which scenes.")] = 0,
    count: Annotated[int, typer.Option(help="How many scenes.")] = 16,
) -> None:
    """Render scenes: a contact sheet, sounds and clips."""
    arguments.whole("--seed", seed, 0, 2**63 - 1)
    arguments.whole("--count", count, 1, 1024)
    from codi.apps.request import writable
    from codi.worlds.sounding_shapes.preview import preview as render

    with writable(out, []):
        for file in render(out, seed=seed, count=count):
            typer.echo(file)


def run(argv: list[str]) -> int:
    """Run one command line.

    Args:
        argv: the arguments, without the program's name.

    Returns:
        The exit status: 0, 2 for bad input, 130 when interrupted.
    """
    try:
        return int(app(args=arguments.expand(argv or ["--help"]), prog_name="codi", standalone_mode=False) or 0)
    except InputError as error:
        return _complain(str(error))
    except Exit as error:
        # typer turns an interrupt into status 130.
        return int(error.exit_code)
    except TyperException as error:
        return _complain(f"codi: {error.format_message()}")


def _complain(message: str) -> int:
    print(" ".join(message.split()), file=sys.stderr)  # noqa: T201
    return 2


def main() -> None:
    """Entry point of the command `codi`."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
