"""What an assistant gets from `codi mcp`: `python benchmarks/assistant.py [--count 50] [--steps 20] [--model NAME]`.

Chains of three calls through the SDK's client: "make X", "now the sound for that clip", "make it <another colour>". The
world's readers, which no part of codi-mini was trained with, look at the clips before and after and at the sound: was
the colour changed, what else was kept, does the sound hit when the clip does?
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import mcp
import numpy as np

from codi.modalities.audio import media as audio
from codi.modalities.video import media as video
from codi.worlds.events import event_f1
from codi.worlds.sounding_shapes.captions import caption
from codi.worlds.sounding_shapes.factors import FACTORS
from codi.worlds.sounding_shapes.readers import Reading, read_audio, read_video
from codi.worlds.sounding_shapes.scene import sample_scene


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--model", default="codi-mini")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        rows = anyio.run(_chains, args, Path(root))
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n" + "| --- " * len(names) + "|")
    print("| " + " | ".join(f"{np.nanmean([row[name] for row in rows]):.2f}" for name in names) + " |")


async def _chains(args: argparse.Namespace, root: Path) -> list[dict[str, float]]:
    command = ["-m", "codi.apps.cli", "mcp", "--root", str(root), "--model", args.model]
    async with mcp.Client(mcp.StdioServerParameters(command=sys.executable, args=command)) as client:
        return [await _chain(client, np.random.default_rng((7, n)), root, args.steps) for n in range(args.count)]


async def _chain(client: Any, rng: np.random.Generator, root: Path, steps: int) -> dict[str, float]:
    scene = sample_scene(rng)
    colour = str(rng.choice([c for c in FACTORS["colour"] if c != scene.colour]))
    asked = {"outputs": ["video"], "prompt": caption(scene, set(FACTORS), rng), "seed": int(rng.integers(2**31))}
    clip = await _files(client, "generate", {**asked, "steps": steps})
    scored = await _files(client, "generate", {"outputs": ["audio"], "given": [clip["video"]], "steps": steps})
    blue = await _files(client, "edit", {"file": clip["video"], "change": f"make it {colour}", "steps": steps})
    before, after = (_seen(root / files["video"]) for files in (clip, blue))
    sound = audio.read(root / scored["audio"])
    heard = read_audio([sound.samples.mean(0)])[0]
    kept = {name: value for name, value in before.factors.items() if name != "colour"}
    return {
        "colour changed": float(after.factors.get("colour") == colour),
        **{f"{name} kept": float(after.factors.get(name) == value) for name, value in _all(kept).items()},
        "sound meets clip (event F1)": event_f1(before.moving_events, heard.moving_events),
    }


def _all(kept: Mapping[str, str]) -> dict[str, str | None]:
    """Every factor but the colour; of a still clip, no tempo is kept and none should come."""
    return {name: kept.get(name) for name in FACTORS if name != "colour"}


async def _files(client: Any, tool: str, asked: Mapping[str, Any]) -> dict[str, str]:
    result = await client.call_tool(tool, dict(asked))
    if result.is_error:
        raise RuntimeError(result.content[0].text)
    return dict(result.structured_content["files"])


def _seen(path: Path) -> Reading:
    clip = video.read(path)
    return read_video(clip.frames[None], clip.fps)[0]


if __name__ == "__main__":
    main()
