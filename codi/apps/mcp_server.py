"""`codi mcp`: what codi does, as tools of the Model Context Protocol. Files stay below one folder."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import anyio.from_thread
from mcp.server import MCPServer
from mcp.server.mcpserver import Audio, Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ContentBlock, ResourceLink, TextContent
from pydantic import BaseModel, Field

from codi import files
from codi.apps import arguments, recipe
from codi.apps.request import Request
from codi.apps.studio import Root, Studio
from codi.bundles import components, find_bundle, shipped
from codi.types import InputError
from codi.worlds.sounding_shapes import questions

TEXT: Final = "text"
INLINE: Final[dict[str, Callable[[Path], ContentBlock]]] = {
    "image": lambda path: Image(path=path).to_image_content(),
    "audio": lambda path: Audio(path=path).to_audio_content(),
}
"""Modalities whose results stand in the answer itself; others are linked."""

TELL: Final = """codi makes any set of text, image, audio and video from any set of them, and what it makes together
meshes. Files are named relative to the server's folder. For a sound to a clip, generate audio, the clip given."""


class Made(BaseModel):
    """What a tool made."""

    files: dict[str, str] = Field(description="The file of each output, relative to the server's folder.")
    text: str | None = Field(None, description="The caption, where a text was asked for.")
    seed: int = Field(description="The same seed makes the same again.")


class Described(BaseModel):
    """What a medium shows."""

    caption: str
    factors: dict[str, str] = Field(description="What the question asks for, or all that the caption tells.")


class Model(BaseModel):
    """A bundle."""

    name: str
    folder: str
    parameters: int
    bytes: int


LIGHTLY, WHOLE = 0.65, (TEXT,)
"""Strength of an edit that keeps where things are and when they happen; what is made anew: its prompt says it all."""

File = Annotated[str, Field(description="A file below the server's folder.")]


@dataclass
class Tools:
    """The tools of one server.

    Attributes:
        studio: runs the requests.
        root: what they may read and write.
    """

    studio: Studio
    root: Root

    def generate(
        self,
        outputs: Annotated[list[str], Field(description="Modalities to make together: text, image, audio, video.")],
        context: Context,
        prompt: Annotated[str, Field(description="A text that prompts.")] = "",
        inputs: Annotated[Sequence[File], Field(description="Files that prompt, of any modality.")] = (),
        given: Annotated[
            Sequence[str],
            Field(
                description="What stands and is kept: a file, or as in video@0:1=clip.mp4 the seconds of it that "
                "stand while the rest is made, or as in video@~0.8=clip.mp4 what 0.8 of the steps make anew."
            ),
        ] = (),
        seed: int = 0,
        steps: Annotated[int, Field(ge=1, le=200)] = 20,
    ) -> Annotated[CallToolResult, Made]:
        """Make any set of text, image, audio and video, in step with each other and with what is given."""
        with told():
            prompts = tuple(self._source(name, "--inputs") for name in inputs)
            if prompt:
                prompts = (arguments.read_source(f"{TEXT}={prompt}", "--inputs"), *prompts)
            stand = arguments.check_given([self._source(name, "--given") for name in given])
            whole = [source.modality for source in stand if not source.partial]
            wanted = arguments.check_outputs(outputs, whole)
            arguments.check_parts(stand, wanted)
            if not prompts and not stand:
                raise InputError("generate", "has neither prompt, inputs nor given", "give at least one")
            return self._make(prompts, stand, wanted, seed, steps, context)

    def edit(
        self,
        file: File,
        change: Annotated[str, Field(description='What to change, as in "make it blue" or "faster".')],
        context: Context,
        outputs: Annotated[Sequence[str], Field(description="Modalities to make; the file's own where left out.")] = (),
        seed: Annotated[int | None, Field(description="That of the file's recipe where left out.")] = None,
        steps: Annotated[int, Field(ge=1, le=200)] = 20,
        strength: Annotated[
            float | None,
            Field(gt=0, le=1, description="How much is made anew; left out, little, or all where movement changes."),
        ] = None,
    ) -> Annotated[CallToolResult, Made]:
        """Make a file's content anew with one thing changed and the other factors kept."""
        with told():
            source = self._source(file, "--inputs")
            caption = self._caption(source)
            prompts = (
                arguments.read_source(f"{TEXT}={questions.changed(caption, change, self._asked(file))}", "--inputs"),
            )
            wanted = arguments.check_outputs(outputs or [source.modality], ())
            if strength is not None and source.modality not in wanted:
                raise InputError("strength", f"is of {source.modality}, which is no output", "leave one of them out")
            share = strength or (1.0 if questions.moves(change) or source.modality in WHOLE else LIGHTLY)
            stand = (replace(source, strength=share),) if share < 1 and source.modality in wanted else ()
            return self._make(prompts, stand, wanted, self._seed(file) if seed is None else seed, steps, context)

    def describe(
        self, file: File, question: Annotated[str, Field(description='As in "what colour is it?"')] = ""
    ) -> Described:
        """Say what a picture, sound, clip or text shows, and answer a question about it."""
        with told():
            caption = self._caption(self._source(file, "--inputs"))
            return Described(caption=caption, factors=questions.answer(caption, question))

    def list_models(self) -> list[Model]:
        """The bundle that this server runs, and others that stand on this machine."""
        places = {self.studio.folder, *(find for root in shipped() for find in _bundles(root))}
        return [_model(folder) for folder in sorted(places)]

    def _source(self, name: str, option: str) -> arguments.Source:
        """A file below the root, with what stands of it after an @ and a modality's name."""
        head, equals, tail = name.partition("=")
        placed = equals and head.partition("@")[0] in files.formats()
        path = self.root.path(tail if placed else name)
        modality = files.modality_of(path)
        if placed and head.partition("@")[2] and not _timed(head):
            head = f"{head.partition('@')[0]}@{self.root.path(head.partition('@')[2])}"
        return arguments.read_source(f"{head if placed else modality}={path}", option)

    def _caption(self, source: arguments.Source) -> str:
        if source.modality == TEXT:
            return str(source.media)
        request = Request((source,), (), (TEXT,), {"seed": 0, "num_inference_steps": 12}, model=self.studio.model)
        with tempfile.TemporaryDirectory() as scratch:
            return self.studio.make(request, Path(scratch))[0].read_text().strip()

    def _asked(self, file: str) -> str:
        """The texts that a file was made from, by its recipe; none where it has none."""
        try:
            inputs = recipe.read(self.root.path(file))["inputs"]
            return ". ".join(str(one["value"]) for one in inputs if one["modality"] == TEXT and "value" in one)
        except (InputError, KeyError, TypeError):
            return ""

    def _seed(self, file: str) -> int:
        try:
            return int(recipe.read(self.root.path(file))["parameters"]["seed"])
        except (InputError, KeyError, TypeError, ValueError):
            return 0

    def _make(
        self,
        prompts: tuple[arguments.Source, ...],
        stand: tuple[arguments.Source, ...],
        outputs: tuple[str, ...],
        seed: int,
        steps: int,
        context: Context,
    ) -> CallToolResult:
        numbers = {
            "seed": arguments.whole("seed", seed, 0, 2**63 - 1),
            "num_inference_steps": arguments.whole("steps", steps, 1, 200),
        }
        request = Request(prompts, stand, outputs, numbers, model=self.studio.model)
        stop = threading.Event()

        def report(step: int, total: int, _: Any) -> None:
            try:
                anyio.from_thread.run(context.report_progress, float(step), float(total), f"step {step} of {total}")
            except Exception:  # the client has gone: nobody waits for the result
                stop.set()

        out = self.root.fresh()
        try:
            written = self.studio.make(request, out, on_step=report, stop=stop)
        except BaseException:
            if not any(out.iterdir()):
                out.rmdir()
            raise
        return self._result(written, seed)

    def _result(self, written: Sequence[Path], seed: int) -> CallToolResult:
        by_modality = {files.modality_of(path): path for path in written if path.suffix != ".json"}
        names = {name: self.root.name(path) for name, path in by_modality.items()}
        text = by_modality[TEXT].read_text().strip() if TEXT in by_modality else None
        made = Made(files=names, text=text, seed=seed)
        blocks: list[Any] = [TextContent(type="text", text=made.model_dump_json())]
        for name, path in by_modality.items():
            if name in INLINE:
                blocks.append(INLINE[name](path))
            elif name != TEXT:
                blocks.append(
                    ResourceLink(type="resource_link", uri=path.as_uri(), name=path.name, mime_type="video/mp4")
                )
        return CallToolResult(content=blocks, structured_content=made.model_dump())


def _timed(head: str) -> bool:
    """Whether what stands after the @ are seconds or a strength, and no mask's file."""
    return re.fullmatch(r"~?[\d.:,]+", head.partition("@")[2]) is not None


def _bundles(root: Path) -> Iterator[Path]:
    return (index.parent for index in root.glob("*/model_index.json"))


def _model(folder: Path) -> Model:
    parts = list(components(folder))
    parameters, size = sum(part.parameters for part in parts), sum(part.size for part in parts)
    return Model(name=folder.name, folder=str(folder), parameters=parameters, bytes=size)


@contextmanager
def told() -> Iterator[None]:
    """Refusals as errors that the assistant reads: one line."""
    try:
        yield
    except InputError as error:
        raise ToolError(str(error)) from error


def server(model: str, root: Path, waiting: int = 8) -> MCPServer:
    """A server over a bundle, confined to a folder.

    Raises:
        InputError: no such bundle.
    """
    find_bundle(model)
    tools = Tools(Studio(model, waiting), Root(root))
    made = MCPServer("codi", instructions=TELL)
    for tool in (tools.generate, tools.edit, tools.describe, tools.list_models):
        made.tool()(tool)
    return made
