"""What the fields of `codi web` ask for, without a browser."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

web = pytest.importorskip("codi.apps.web", reason="gradio is not installed", exc_type=ImportError)


@pytest.mark.parametrize("scale", [{"video": 3.0, "audio": 3.0}, {"video": 2.0, "audio": 3.0}, 3.0])
def test_a_recipes_scales_are_asked_for_while_the_sliders_stand_where_it_put_them(scale: Any, tmp_path: Path) -> None:
    parameters = {"seed": 1, "num_inference_steps": 3, "guidance_scale": scale, "bridge_scale": {"video": 3.0}}
    kept = {"inputs": [], "outputs": ["video", "audio"], "parameters": parameters}
    (tmp_path / "recipe.json").write_text(json.dumps(kept))
    *_, guidance, bridge, loaded = web.load_recipe(str(tmp_path / "recipe.json"))
    numbers = {"guidance": guidance, "bridge": bridge}
    assert loaded == {
        "companions": [],
        "bridge_prompting": 0.0,
        "guidance_interval": 1,
        **parameters,
        "outputs": ["video", "audio"],
    }
    assert web._asked("guidance", numbers, loaded, 3.0) == scale
    assert web._asked("bridge", numbers, loaded, 3.0) == {"video": 3.0}
    assert web._asked("guidance", {"guidance": 4.0}, loaded, 3.0) == 4.0
    assert web._asked("guidance", {"guidance": 3.0}, None, 3.0) is None


def test_what_has_no_field_is_taken_over_from_a_recipe(tmp_path: Path) -> None:
    parameters = {"guidance_scale": 3.0, "bridge_start": {"video": 0.0}, "bridge_end": {"video": 1.0}, "fps": 8}
    parameters |= {"companions": ["audio"], "bridge_prompting": 0.0, "guidance_interval": 1}
    asked = []

    class Watched(web.Page):
        def _watched(self, request: Any, out: Path, stop: Any) -> Any:
            asked.append(request.parameters)
            yield {}

    page = Watched(SimpleNamespace(model="codi-mini"), tmp_path)
    numbers = {"seed": 1, "steps": 3, "guidance": 3.0, "bridge": 3.0}
    loaded = {**parameters, "outputs": ["video", "text"]}
    for outputs in (["text", "video"], ["video", "audio"]):
        list(page._made(("a ball", None, None, None, [], outputs), numbers, loaded, threading.Event()))
    same, other = asked
    assert same == {
        **{"seed": 1, "num_inference_steps": 3, "guidance_scale": 3.0, "bridge_scale": None},
        **{"bridge_start": {"video": 0.0}, "bridge_end": {"video": 1.0}, "companions": ["audio"]},
        **{"bridge_prompting": 0.0, "guidance_interval": 1},
    }
    own = ("companions", "bridge_prompting", "guidance_interval")
    assert other == {name: value for name, value in same.items() if name not in own}
