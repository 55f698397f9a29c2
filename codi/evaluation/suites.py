"""Which cells make up each suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations
from typing import Final

from codi.defaults import CODI_MINI
from codi.evaluation.cells import Cell

MODALITIES: Final = ("text", "image", "audio", "video")
TRACKS: Final = ("video", "audio")
TRAINED_PROMPTS: Final = ("text",)
"""Modalities that the shipped denoisers were trained with as prompts; the shared space alone brings the others in."""
REPEATS: Final = 8
"""Samples for each prompt of the mesh suite, whose shuffled pairs share a prompt."""

CHEAP: Final[dict[str, dict[str, float]]] = {
    "guided-always": {"guidance_interval": 1},
    "guided-every-3": {"guidance_interval": 3},
    "guided-every-3-no-renewal": {"guidance_interval": 3, "bridge_renewal": 1.0},
    "guided-half": {"guidance_end": 0.5},
    "guided-third": {"guidance_end": 0.34},
    "8-steps": {"num_inference_steps": 8},
}
"""What takes fewer passes, and what takes more than the default."""


def solo() -> list[Cell]:
    """Each output alone from a text prompt, in many wordings: adherence, entropy, Frechet distance."""
    return [Cell(f"text-{m}", ("text",), (m,), naming="some") for m in MODALITIES]


def complementary() -> list[Cell]:
    """A text that gives motion and tempo with an image that gives the rest: the outputs owe both."""
    wanted = [("video",), ("audio",), ("text",), TRACKS, ("video", "audio", "text")]
    return [Cell(f"text+image-{_join(o)}", ("text", "image"), o, naming="movement") for o in wanted]


def held_out() -> list[Cell]:
    """The (shape, colour) pairs that no training has seen, named by a text or shown by an image."""
    text = [Cell(f"text-{m}", ("text",), (m,), naming="pair", split="held_out") for m in MODALITIES]
    image = [Cell(f"image-{m}", ("image",), (m,), split="held_out") for m in ("audio", "video", "text")]
    seen = [Cell(f"text-{m}-seen", ("text",), (m,), naming="pair") for m in MODALITIES]
    return [*text, *image, *seen]


def mesh() -> list[Cell]:
    """Joint outputs with bridges on and off, and in cascade: agreement and synchrony on the same prompts.

    The prompts leave colour, tempo and phase open ("looks"), what the object is ("timed"), or nearly all ("little").
    """
    pairs = [Cell(f"{n}-on", ("text",), TRACKS, naming=n, repeats=REPEATS) for n in ("looks", "timed", "little")]
    every = replace(pairs[0], name="looks-all-on", outputs=MODALITIES)
    cells = [cell for on in (*pairs, every) for cell in (on, _off(on, on.name.replace("-on", "-off")))]
    first = replace(pairs[0], cascade=True, name="looks-cascade-video-first")
    return [*cells, first, replace(first, name="looks-cascade-audio-first", outputs=TRACKS[::-1])]


ACCOMPANIED: Final = tuple("+".join(pair) for pair in combinations(MODALITIES, 2) if CODI_MINI.along(pair, ()))
"""Pairs that codi-mini makes something along with."""
APART: Final = "-by-themselves"


def sets() -> list[Cell]:
    """Every set of two outputs or more, from prompts that leave colour, tempo and phase open.

    Pairs that have companions also without.
    """
    several = [s for n in range(2, 5) for s in combinations(MODALITIES, n)]
    cells = [Cell(_join(s), ("text",), s, naming="looks", repeats=REPEATS) for s in several]
    apart = {name: f"{name}{APART}" for name in ACCOMPANIED}
    return [*cells, *(replace(c, name=apart[c.name], options={"companions": ()}) for c in cells if c.name in apart)]


def schedule() -> list[Cell]:
    """Clips with sound whose bridges or guidance act in a part of the steps: where they matter, what can be saved."""
    on = Cell("", ("text",), TRACKS, naming="looks", repeats=REPEATS)
    spans = [(0.0, 0.25), (0.0, 0.5), (0.0, 0.75), (0.0, 1.0), (0.25, 1.0), (0.5, 1.0), (0.75, 1.0), (0.25, 0.75)]
    parts = [
        replace(on, name=f"{start:.0%}-{end:.0%}", options={"bridge_start": start, "bridge_end": end})
        for start, end in spans
    ]
    scales = [replace(on, name=f"scale-{scale:g}", options={"bridge_scale": scale}) for scale in (1.0, 2.0, 3.0, 4.0)]
    levels = [replace(on, name=f"renewal-{level:g}", options={"bridge_renewal": level}) for level in (1.0, 0.7)]
    return [*parts, *scales, *levels, *(replace(on, name=name, options=options) for name, options in CHEAP.items())]


def clock() -> list[Cell]:
    """Clips with sound of other lengths and frame rates than those that codi-mini was trained on."""
    on = Cell("", ("text",), TRACKS, naming="looks", repeats=REPEATS)
    lengths = [replace(on, name=f"{seconds:g}s", options={"duration": seconds}) for seconds in (1.0, 4.0)]
    return [*lengths, *(replace(on, name=f"{fps:g}fps", options={"fps": fps}) for fps in (6.0, 12.0))]


def given() -> list[Cell]:
    """One output beside something that stands, from no prompt or from one that leaves much open."""
    bare = Cell("video-audio", (), ("audio",), naming="nothing", repeats=REPEATS, given=("video",))
    return [
        bare,
        replace(bare, name="audio-video", outputs=("video",), given=("audio",)),
        replace(bare, name="audio-image", outputs=("image",), given=("audio",)),
        replace(bare, name="image@0.5-video", outputs=("video",), given=("image",), at=0.5),
        Cell("text+audio-video", ("text",), ("video",), naming="looks", repeats=REPEATS, given=("audio",)),
    ]


def crossing() -> list[Cell]:
    """Each output beside each given, which does not prompt: what comes over, comes by the bridge alone."""
    return [
        Cell(f"{one}-{other}", (), (other,), naming="nothing", given=(one,), options={"weights": {one: 0.0}})
        for one, other in permutations(MODALITIES, 2)
    ]


def _off(cell: Cell, name: str) -> Cell:
    return replace(cell, name=name, options={"bridge_scale": 0.0})


def matrix() -> list[Cell]:
    """Every non-empty set of inputs with every non-empty set of outputs: 225 cells."""
    sets = [s for n in range(1, 5) for s in combinations(MODALITIES, n)]
    return [Cell(f"{_join(i)}-{_join(o)}", i, o) for i in sets for o in sets]


def _join(modalities: tuple[str, ...]) -> str:
    return "+".join(modalities)


SUITES: Final[dict[str, Callable[[], list[Cell]]]] = {
    "solo": solo,
    "complementary": complementary,
    "held-out": held_out,
    "mesh": mesh,
    "sets": sets,
    "given": given,
    "crossing": crossing,
    "schedule": schedule,
    "clock": clock,
    "matrix": matrix,
}
COMPARED: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "mesh": (
        *(("looks-on", "looks-off"), ("looks-all-on", "looks-all-off")),
        *(("timed-on", "timed-off"), ("little-on", "little-off")),
        *(("looks-on", "looks-cascade-video-first"), ("looks-on", "looks-cascade-audio-first")),
    ),
    "sets": tuple((name, f"{name}{APART}") for name in ACCOMPANIED),
}
"""Cells of the same prompts and seeds, compared sample by sample."""

DEFAULT_COUNT: Final = {
    "solo": 256,
    "complementary": 64,
    "held-out": 96,
    "mesh": 256,
    "sets": 256,
    "given": 256,
    "crossing": 64,
    "schedule": 64,
    "clock": 64,
    "matrix": 4,
}
