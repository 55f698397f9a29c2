"""`codi mcp` as an assistant meets it: the SDK's own client over stdio, on the debug bundle."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

mcp = pytest.importorskip("mcp")
anyio = pytest.importorskip("anyio")

from codi.modalities.image import media as image  # noqa: E402
from codi.modalities.video import media as video  # noqa: E402
from codi.worlds.sounding_shapes import questions  # noqa: E402
from tests import samples  # noqa: E402


def talk(bundle: Path, root: Path, turns: Callable[[Any], Awaitable[None]]) -> None:
    command = ["-m", "codi.apps.cli", "mcp", "--root", str(root), "--model", str(bundle)]
    transport = mcp.StdioServerParameters(command=sys.executable, args=command)

    async def main() -> None:
        async with mcp.Client(transport) as client:
            await turns(client)

    anyio.run(main)


def test_an_assistant_chains_its_calls(bundle: Path, tmp_path: Path) -> None:
    seen: list[tuple[float, float | None]] = []

    async def progress(step: float, total: float | None, message: str | None) -> None:
        seen.append((step, total))

    async def turns(client: Any) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"generate", "edit", "describe", "list_models"}
        assert set(tools["generate"].input_schema["required"]) == {"outputs"}
        asked = {"outputs": ["video", "image"], "prompt": "a red circle", "steps": 2, "seed": 3}
        first = await client.call_tool("generate", asked, progress_callback=progress)
        assert not first.is_error
        made = first.structured_content
        assert set(made["files"]) == {"video", "image"} and made["seed"] == 3
        picture = next(block for block in first.content if block.type == "image")
        assert base64.b64decode(picture.data) == (tmp_path / made["files"]["image"]).read_bytes()
        assert any(block.type == "resource_link" and block.uri.endswith("video.mp4") for block in first.content)
        sound = await client.call_tool(
            "generate", {"outputs": ["audio"], "given": [made["files"]["video"]], "steps": 2}
        )
        assert any(block.type == "audio" for block in sound.content)
        scored = video.read(tmp_path / sound.structured_content["files"]["video"])
        assert (scored.frames == video.read(tmp_path / made["files"]["video"]).frames).all()
        blue = await client.call_tool("edit", {"file": made["files"]["image"], "change": "make it blue", "steps": 2})
        assert not blue.is_error and blue.structured_content["seed"] == 3
        for change, strength in (("make it blue", 0.65), ("let it bounce", None)):
            asked = {"file": made["files"]["video"], "change": change, "steps": 5}
            anew = (await client.call_tool("edit", asked)).structured_content["files"]["video"]
            given = json.loads(video.read_recipe(tmp_path / anew))["given"]
            assert [one["strength"] for one in given] == ([] if strength is None else [strength])
        caption = {"file": sound.structured_content["files"]["audio"], "change": "make it blue", "outputs": ["text"]}
        said = (await client.call_tool("edit", {**caption, "steps": 2})).structured_content["files"]["text"]
        words = {"file": said, "change": "make it red", "steps": 2}
        anew = (await client.call_tool("edit", words)).structured_content["files"]["text"]
        assert json.loads((tmp_path / anew).with_suffix(".json").read_text())["given"] == []
        refused = await client.call_tool("edit", {**asked, "outputs": ["audio"], "strength": 0.5})
        assert refused.is_error and "strength" in refused.content[0].text
        near = ["image@~0.5=" + made["files"]["image"]]
        begun = await client.call_tool("generate", {"outputs": ["image"], "given": near, "prompt": "a", "steps": 2})
        assert not begun.is_error
        half = ["audio@0:1=" + sound.structured_content["files"]["audio"]]
        part = await client.call_tool("generate", {"outputs": ["audio"], "given": half, "steps": 2})
        assert not part.is_error
        said = await client.call_tool("describe", {"file": made["files"]["image"], "question": "what colour is it?"})
        assert isinstance(said.structured_content["caption"], str)
        models = await client.call_tool("list_models", {})
        assert str(bundle) in {row["folder"] for row in models.structured_content["result"]}

    talk(bundle, tmp_path, turns)
    assert seen == [(1.0, 2.0), (2.0, 2.0)]


def test_refusals_are_one_line_and_nothing_outside_the_root_is_read(bundle: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    image.write(samples.picture(), tmp_path / "secret.png", None)
    root.mkdir()
    (root / "link.png").symlink_to(tmp_path / "secret.png")

    async def turns(client: Any) -> None:
        refused = await client.call_tool("generate", {"outputs": ["text"], "inputs": ["~nobody-has-this-name/x.png"]})
        assert refused.is_error and "is no path here" in refused.content[0].text
        for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "image@0.5=../secret.png"):
            refused = await client.call_tool("generate", {"outputs": ["text"], "inputs": [name]})
            assert refused.is_error and "outside the folder" in refused.content[0].text
        for arguments, message in (
            ({"outputs": ["smell"], "prompt": "a"}, "is not a modality"),
            ({"outputs": ["text"]}, "has neither prompt"),
            ({"outputs": ["text"], "inputs": ["none.png"]}, "none.png"),
        ):
            refused = await client.call_tool("generate", arguments)
            assert refused.is_error and message in refused.content[0].text
        assert list(root.iterdir()) == [root / "link.png"]

    talk(bundle, root, turns)


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ("make it blue", {"colour": "blue"}),
        ("now faster please", {"tempo": "fast"}),
        ("let it bounce quickly", {"motion": "bounce", "tempo": "fast"}),
        ("turn it into a star", {"shape": "star"}),
        ("bigger", {"size": "large"}),
        ("stop it", {"motion": "still"}),
    ],
)
def test_a_change_sets_its_factors_and_keeps_the_others(change: str, facts: dict[str, str]) -> None:
    caption = "a small red heart is pulsing at a slow tempo"
    before = questions.facts_of(caption)
    wanted = {**before, **facts}
    if wanted["motion"] == "still":
        wanted.pop("tempo")
    assert questions.facts_of(questions.changed(caption, change)) == wanted
    assert questions.moves(change) == bool({"motion", "tempo"} & facts.keys())


def test_questions_are_answered_from_the_caption() -> None:
    caption = "a small red heart is pulsing at a slow tempo"
    assert questions.answer(caption, "what colour is it?") == {"colour": "red"}
    assert questions.answer(caption, "how fast does it move?") == {"motion": "pulse", "tempo": "slow"}
    assert questions.answer(caption, "") == questions.facts_of(caption)


def test_what_a_file_was_made_from_is_believed_before_what_is_seen() -> None:
    made = questions.changed("a small red heart is pulsing slowly", "make it blue", "a large heart that pulses")
    facts = {"shape": "heart", "colour": "blue", "size": "large", "motion": "pulse", "tempo": "slow"}
    assert questions.facts_of(made) == facts
