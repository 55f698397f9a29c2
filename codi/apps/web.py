"""`codi web`: any inputs, any outputs, in the browser."""

from __future__ import annotations

import html
import json
import queue
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import gradio as gr
import numpy as np
import PIL.Image

from codi import files
from codi.apps import arguments, recipe
from codi.apps.request import Request
from codi.apps.studio import OnStep, Preview, StoppedError, Studio
from codi.defaults import CODI_MINI
from codi.types import InputError

LARGEST: Final = "64mb"
"""Of an upload."""
LOOKS: Final = 4
"""Steps between two previews."""
GUIDANCE: Final = CODI_MINI.guidance
OWN: Final = "Where it stands at first, it is as the model has it."
Loaded = Mapping[str, Any] | None
"""The parameters and outputs of a recipe that was loaded."""
UNSEEN: Final = (
    "companions",
    "bridge_start",
    "bridge_end",
    "bridge_renewal",
    "bridge_prompting",
    "guidance_end",
    "guidance_interval",
    "scheduler",
)
"""Of these parameters, those that have no field here and are taken over as they are."""
TITLE: Final = "codi: any set of text, image, audio and video in, any set out"
HELP: Final = """Give anything, mark what shall stand as it is, and choose what to make. What is made together meshes;
what stands comes back unchanged."""
EXAMPLES: Final = (
    "a small red circle bouncing fast",
    "a large green star that slides slowly",
    "a purple heart, pulsing",
)


@dataclass
class Page:
    """The page's handlers over one studio.

    Attributes:
        studio: runs the requests.
        folder: where results are written; nothing else is ever handed out.
        stops: by session, what ends its generation.
    """

    studio: Studio
    folder: Path
    stops: dict[str, threading.Event] = field(default_factory=dict)

    def make(  # noqa: PLR0913  one argument for each field of the page
        self,
        prompt: str,
        dropped: Sequence[str] | None,
        drawn: Any,
        recorded: str | None,
        standing: Sequence[str],
        outputs: Sequence[str],
        seed: float,
        steps: float,
        guidance: float,
        bridge: float,
        loaded: Loaded,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Yields what the page shows while it is made, and at the end: one update for each of SLOTS."""
        stop = threading.Event()
        self.stops[str(request.session_hash)] = stop
        numbers = {"seed": seed, "steps": steps, "guidance": guidance, "bridge": bridge}
        sources = (prompt, dropped, drawn, recorded, standing, outputs)
        try:
            for update in self._made(sources, numbers, loaded, stop):
                yield tuple(update.get(name, gr.skip()) for name in SLOTS)
        finally:
            # The browser may have gone: then nobody waits for the rest.
            stop.set()
            self.stops.pop(str(request.session_hash), None)

    def _made(
        self, sources: tuple[Any, ...], numbers: dict[str, float], loaded: Loaded, stop: threading.Event
    ) -> Iterator[dict[str, Any]]:
        """Updates by slot; a slot that is not named stays as it is."""
        yield _shown(_status("is getting ready", sources[-1], 0, int(numbers["steps"] or 1)))
        try:
            parameters = {
                **_taken(loaded, outputs=sources[-1], standing=sources[-2]),
                "seed": arguments.whole("seed", int(numbers["seed"] or 0), 0, 2**63 - 1),
                "num_inference_steps": arguments.whole("steps", int(numbers["steps"] or 0), 1, 200),
                "guidance_scale": _asked("guidance", numbers, loaded, GUIDANCE.prompt),
                "bridge_scale": _asked("bridge", numbers, loaded, GUIDANCE.bridge),
            }
            # gradio has copied the files of an update when it asks for the next: they go with the folder.
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                asked = Request(*_request(Path(scratch), *sources), parameters, model=self.studio.model)
                yield from self._watched(asked, Path(scratch) / "out", stop)
        except InputError as error:
            yield _shown(_refusal(str(error)))
        except StoppedError:
            yield _shown(_refusal("stopped; nothing was written"))

    def stop(self, request: gr.Request) -> None:
        """End this session's generation at its next step."""
        if str(request.session_hash) in self.stops:
            self.stops[str(request.session_hash)].set()

    def _watched(self, asked: Request, out: Path, stop: threading.Event) -> Iterator[dict[str, Any]]:
        """Make it in a thread of its own, and yield its steps as they come."""
        events: queue.Queue[tuple[str, Any]] = queue.Queue()

        def on_step(step: int, total: int, preview: Preview) -> None:
            look = preview() if step % LOOKS == 0 and step < total else {}
            events.put(("step", (step, total, look)))

        worker = threading.Thread(target=_work, args=(self.studio, asked, out, on_step, stop, events), daemon=True)
        worker.start()
        while True:
            kind, found = events.get()
            if kind == "made":
                yield _result(found, asked)
                return
            if kind == "failed":
                raise found
            step, total, look = found
            yield _shown(_status("is denoising", asked.outputs, step, total), look)


def _request(
    scratch: Path,
    prompt: str,
    dropped: Sequence[str] | None,
    drawn: Any,
    recorded: str | None,
    standing: Sequence[str],
    outputs: Sequence[str],
) -> tuple[tuple[arguments.Source, ...], tuple[arguments.Source, ...], tuple[str, ...]]:
    """Inputs, givens and outputs of the fields."""
    paths = [*(dropped or ()), *([recorded] if recorded else [])]
    sketch = _drawing(drawn, scratch)
    if sketch is not None:
        paths.append(str(sketch))
    sources = tuple(_read(path) for path in paths)
    given = arguments.check_given([source for source in sources if source.modality in standing])
    prompts = tuple(source for source in sources if source.modality not in standing)
    if prompt.strip():
        prompts = (arguments.read_source(f"text={prompt.strip()}", "--inputs"), *prompts)
    if not prompts and not given:
        raise InputError("inputs", "are empty", "write something, or drop a file")
    return prompts, given, arguments.check_outputs(outputs, [source.modality for source in given])


def _work(
    studio: Studio,
    asked: Request,
    out: Path,
    on_step: OnStep,
    stop: threading.Event,
    events: queue.Queue[tuple[str, Any]],
) -> None:
    try:
        events.put(("made", studio.make(asked, out, on_step=on_step, stop=stop)))
    except Exception as error:
        events.put(("failed", error))


def _read(path: str) -> arguments.Source:
    """An upload, named as its owner named it."""
    try:
        modality = files.modality_of(Path(path))
        return arguments.read_source(f"{modality}={path}", "--inputs")
    except InputError as error:
        raise InputError(error.name.replace(path, Path(path).name), error.problem, error.remedy) from error


def _drawing(drawn: Any, folder: Path) -> Path | None:
    """The sketch as a file, if anything was drawn."""
    picture = drawn.get("composite") if isinstance(drawn, dict) else drawn
    layers = drawn.get("layers") if isinstance(drawn, dict) else None
    if picture is None or (layers is not None and not any(np.asarray(layer)[..., 3].any() for layer in layers)):
        return None
    path = folder / "drawing.png"
    flat = PIL.Image.new("RGBA", PIL.Image.fromarray(picture).size, "white")
    flat.alpha_composite(PIL.Image.fromarray(picture).convert("RGBA"))
    flat.convert("RGB").save(path)
    return path


SLOTS: Final = ("status", "preview", "text", "image", "audio", "video", "files")


def _shown(status: str, look: dict[str, Any] | None = None) -> dict[str, Any]:
    """The status, and a preview of what can be looked at."""
    pictures = [_picture(media) for media in (look or {}).values()]
    found = [picture for picture in pictures if picture is not None]
    return {"status": status} | ({"preview": gr.update(value=np.concatenate(found, 1), visible=True)} if found else {})


def _picture(media: Any) -> np.ndarray | None:
    """A square picture of an image, or of the middle of a clip; None of what is heard or read."""
    frames = getattr(media, "frames", media)
    if not isinstance(frames, np.ndarray):
        return None
    frame = frames[len(frames) // 2] if frames.ndim == 4 else frames
    return np.asarray(PIL.Image.fromarray(frame).resize((192, 192), PIL.Image.Resampling.NEAREST))


def _result(written: Sequence[Path], asked: Request) -> dict[str, Any]:
    """All results; a clip comes with its sound."""
    made = {files.modality_of(path): path for path in written if path.suffix != ".json"}
    words = made["text"].read_text().strip() if "text" in made else None
    names = ", ".join(path.name for path in written)
    return {
        "status": f"<p role='status'>made {html.escape(names)} with seed {asked.parameters['seed']}</p>",
        "preview": gr.update(visible=False),
        "text": gr.update(value=words, visible="text" in made),
        **{name: gr.update(value=_place(made, name), visible=name in made) for name in ("image", "audio", "video")},
        "files": gr.update(value=[str(path) for path in written], visible=True),
    }


def _place(made: dict[str, Path], name: str) -> str | None:
    return str(made[name]) if name in made else None


def _status(words: str, outputs: Sequence[str], step: int, total: int) -> str:
    """A bar for each output."""
    bars = "".join(
        f"<div><label>{html.escape(name)} {words}: <progress max='{total}' value='{step}'></progress>"
        f" {step} of {total}</label></div>"
        for name in outputs
    )
    return f"<div role='status'>{bars}</div>"


def _refusal(message: str) -> str:
    return f"<p role='alert' style='color: #b00020'>{html.escape(message)}</p>"


def load_recipe(path: str | None) -> tuple[Any, ...]:
    """Fields from the recipe in a dropped file; files that went in have to be dropped again."""
    nothing = tuple(gr.skip() for _ in range(7))
    if path is None:
        return (gr.skip(), *nothing)
    try:
        kept = recipe.read(Path(path)) if Path(path).suffix != ".json" else json.loads(Path(path).read_text())
        numbers, sources = recipe.parameters(kept), [*kept["inputs"], *kept.get("given", [])]
        prompt = next((one["value"] for one in kept["inputs"] if "value" in one), "")
        scales = [_one(numbers.get(f"{name}_scale")) for name in ("guidance", "bridge")]
        settings = (numbers["seed"], numbers["num_inference_steps"], *scales)
        fields = (prompt, list(kept["outputs"]), *settings, {**numbers, "outputs": kept["outputs"]})
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return (_refusal(f"{Path(path).name}: carries no recipe; give a file that codi made"), *nothing)
    lost = [Path(one["path"]).name for one in sources if "path" in one]
    told = f"; drop these again: {', '.join(lost)}" if lost else ""
    return (f"<p role='status'>recipe loaded{html.escape(told)}</p>", *fields)


def _taken(loaded: Loaded, outputs: Sequence[str], standing: Sequence[str]) -> dict[str, Any]:
    """What a recipe says beside the fields; its companions, and who prompts others, are those of its own outputs."""
    if loaded is None:
        return {}
    taken = {name: loaded[name] for name in UNSEEN if name in loaded}
    if set(outputs) != set(loaded["outputs"]) or set(standing) & set(taken["companions"]):
        for name in ("companions", "bridge_prompting", "guidance_interval"):
            taken.pop(name, None)
    return taken


def _asked(name: str, numbers: Mapping[str, float], loaded: Loaded, default: float) -> Any:
    """What a slider asks for: while it stands where a recipe put it, the recipe's scales; None where it was at first.

    Each output then has the model's own.
    """
    number, kept = arguments.number(name, numbers[name]), (loaded or {}).get(f"{name}_scale")
    if kept and number == _one(kept):
        return kept
    return None if number == default else number


def _one(scale: Any) -> Any:
    """A slider's place for scales by modality: the largest."""
    return max(scale.values()) if isinstance(scale, dict) and scale else scale or 0


def build(page: Page) -> gr.Blocks:
    """The page; `queue` and `launch` are its caller's."""
    names = list(files.formats())
    standing = [name for name in names if name != files.typed()]
    with gr.Blocks(title="codi", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        gr.Markdown(f"# {TITLE}\n{HELP}")
        with gr.Row():
            with gr.Column():
                prompt = gr.Textbox(label="Text", placeholder=EXAMPLES[0], lines=2, elem_id="prompt")
                gr.Examples([[example] for example in EXAMPLES], prompt)
                dropped = gr.File(
                    label="Pictures, sounds, clips",
                    file_count="multiple",
                    type="filepath",
                    elem_id="dropped",
                    height=120,
                )
                with gr.Accordion("Draw a picture", open=False):
                    drawn = gr.Sketchpad(label="Picture", type="numpy", canvas_size=(256, 256))
                with gr.Accordion("Record a sound", open=False):
                    recorded = gr.Audio(label="Sound", sources=["microphone"], type="filepath")
                stand = gr.CheckboxGroup(standing, label="Of these, what stands and is kept", elem_id="stand")
                outputs = gr.CheckboxGroup(names, value=["video", "audio"], label="Make", elem_id="outputs")
                with gr.Accordion("Settings", open=False):
                    seed = gr.Number(0, label="Seed", precision=0, elem_id="seed")
                    steps = gr.Slider(1, 100, value=CODI_MINI.steps, step=1, label="Steps", elem_id="steps")
                    guidance = gr.Slider(0, 10, GUIDANCE.prompt, step=0.1, label="How strongly inputs steer", info=OWN)
                    bridge = gr.Slider(
                        0,
                        6,
                        GUIDANCE.bridge,
                        step=0.1,
                        label="How strongly outputs steer each other",
                        info=OWN,
                    )
                    kept = gr.File(label="Load the recipe of a file", type="filepath", elem_id="recipe", height=100)
                with gr.Row():
                    go = gr.Button("Make", variant="primary", elem_id="make")
                    halt = gr.Button("Stop", elem_id="stop")
            with gr.Column():
                slots = {
                    "status": gr.HTML("<p role='status'>ready</p>", elem_id="status"),
                    "preview": gr.Image(label="Under way", visible=False, elem_id="preview"),
                    "text": gr.Textbox(label="Text", visible=False, interactive=False, elem_id="text"),
                    "image": gr.Image(label="Image", visible=False, type="filepath", format="png", elem_id="image"),
                    "audio": gr.Audio(label="Audio", visible=False, buttons=["download"], elem_id="audio"),
                    "video": gr.Video(label="Video", visible=False, autoplay=True, loop=True, elem_id="video"),
                    "files": gr.File(label="Files, the recipe inside", visible=False, elem_id="files"),
                }
        loaded = gr.State(None)
        fields = [prompt, dropped, drawn, recorded, stand, outputs, seed, steps, guidance, bridge, loaded]
        go.click(page.make, fields, list(slots.values()), concurrency_limit=None)
        halt.click(page.stop, None, None, queue=False)
        told = [prompt, outputs, seed, steps, guidance, bridge, loaded]
        kept.upload(load_recipe, kept, [slots["status"], *told])
    return blocks


def serve(model: str, host: str, port: int | None, waiting: int) -> None:
    """Serve the page until interrupted.

    Raises:
        InputError: no such bundle, or the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="codi-web-") as folder:
        page = Page(Studio(model, waiting), Path(folder))
        blocks = build(page).queue(max_size=4 * (waiting + 1), default_concurrency_limit=None)
        try:
            blocks.launch(server_name=host, server_port=port, max_file_size=LARGEST, share=False, quiet=False)
        except OSError as error:
            raise InputError(f"--port {port}", "cannot be listened on", "give another") from error
