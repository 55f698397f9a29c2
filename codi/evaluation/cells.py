"""A cell: one set of inputs, one set of outputs, one setting; and the samples that it gives."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from codi.evaluation.engines import Engine
from codi.evaluation.faces import FACES, medium_of
from codi.evaluation.prompts import Prompt, draw_prompts, with_givens
from codi.types import ClipSpec
from codi.worlds.sounding_shapes.readers import Reading
from codi.worlds.sounding_shapes.scene import Split

BATCH = 16


@dataclass(frozen=True)
class Cell:
    """What to sample.

    Attributes:
        name: unique within its suite; also the stem of its files.
        inputs, outputs: modalities.
        naming: what a text among the inputs names, a key of prompts.NAMINGS.
        split: of the prompts' (shape, colour) pairs.
        repeats: samples for each prompt.
        cascade: make the outputs one after the other, each given those before it, instead of jointly.
        given: modalities that stand on the timeline, of a scene of each sample's own that shows what the prompt names.
        at: seconds of the instant at which a given picture stands; None where it stands for the whole clip.
        options: for the engine, such as bridge_scale or weights.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    naming: str = "some"
    split: Split = "train"
    repeats: int = 1
    cascade: bool = False
    given: tuple[str, ...] = ()
    at: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def clip(self) -> ClipSpec:
        """Length and rate of what is made."""
        return ClipSpec.of(self.options.get("duration"), self.options.get("fps"))


@dataclass(frozen=True)
class Sample:
    """What one prompt named and what the readers found in each given and output."""

    group: int
    named: Mapping[str, str]
    readings: Mapping[str, Reading]


def sample_cell(engine: Engine, cell: Cell, count: int, seed: int, first: int = 0) -> list[Sample]:
    """Samples a cell in batches of 16.

    The prompts depend on the seed, the inputs, the naming and the split alone, so that cells that differ in
    their settings only can be compared in pairs.

    Args:
        first: the sample to begin with, a multiple of 16.
    """
    prompts = draw_prompts(cell.inputs, cell.naming, cell.split, count, cell.repeats, seed)
    if cell.given:
        prompts = with_givens(prompts, cell.given, cell.split, seed, cell.at)
    samples: list[Sample] = []
    for start in range(first, count, BATCH):
        batch = prompts[start : start + BATCH]
        made = _make(engine, cell, batch, seed * 100_000 + start)
        samples += _read(batch, made)
    return samples


def _make(engine: Engine, cell: Cell, batch: Sequence[Prompt], seed: int) -> dict[str, list[Any]]:
    inputs = {m: [p.inputs[m] for p in batch] for m in cell.inputs}
    if cell.given:
        given = {m: [p.given[m] for p in batch] for m in cell.given}
        return given | engine(inputs, cell.outputs, seed, given=given, **cell.options)
    if not cell.cascade:
        return engine(inputs, cell.outputs, seed, **cell.options)
    made: dict[str, list[Any]] = {}
    for modality in cell.outputs:
        made |= engine(inputs, (modality,), seed, given=made or None, **cell.options)
    return made


def _read(batch: Sequence[Prompt], made: Mapping[str, list[Any]]) -> list[Sample]:
    readings = {m: FACES[m].read([medium_of(x) for x in media]) for m, media in made.items()}
    return [Sample(p.group, p.named, {m: r[n] for m, r in readings.items()}) for n, p in enumerate(batch)]


def run_cell(engine: Engine, cell: Cell, count: int, seed: int, folder: Path) -> list[Sample]:
    """Samples a cell, or loads it where the same engine sampled it before with the same count and seed."""
    path = folder / f"{cell.name}.json"
    asked = {"cell": json.loads(json.dumps(asdict(cell))), "count": count, "seed": seed, "of": engine.identity}
    if path.exists() and json.loads(path.read_text())["asked"] == asked:
        return load_samples(path)
    samples = _made(engine, cell, count, seed, folder.parent / "made")
    samples = [replace(s, readings={m: s.readings[m] for m in (*cell.given, *cell.outputs)}) for s in samples]
    save_samples(path, samples, {"asked": asked})
    return samples


def _made(engine: Engine, cell: Cell, count: int, seed: int, folder: Path) -> list[Sample]:
    """Samples of all that is made for a cell, its companions too: cells that make the same are sampled once.

    The first samples of a cell are the same however many there are: what a shorter one left is gone on from.
    """
    made = engine.makes(cell.outputs, cell.given, cell.options)
    whole = cell if cell.cascade else replace(cell, outputs=made, options={**cell.options, "companions": ()})
    asked = json.loads(json.dumps(asdict(replace(whole, name="")) | {"seed": seed, "of": engine.identity}))
    path = folder / f"{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]}.json"
    samples = load_samples(path) if engine.identity and path.exists() else []
    if len(samples) < count:
        start = time.process_time()
        samples = samples[: len(samples) // BATCH * BATCH]
        samples += sample_cell(engine, whole, count, seed, len(samples))
        save_samples(path, samples, {"asked": asked, "cpu_seconds": round(time.process_time() - start, 1)})
    return samples[:count]


def sampled(path: Path, of: str) -> bool:
    """Whether samples of that engine lie there; of any, where `of` is empty."""
    return path.exists() and (not of or json.loads(path.read_text()).get("asked", {}).get("of") == of)


def save_samples(path: Path, samples: Sequence[Sample], header: Mapping[str, Any]) -> None:
    """Writes samples as JSON, and their features beside it as .npz; each whole, the JSON last.

    Samples that were there before must be the first of these: a reader may find the new features beside the old JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    features: dict[str, Any] = {
        m: np.stack([s.readings[m].features for s in samples]).astype(np.float16) for m in samples[0].readings
    }
    beside = path.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(beside, **features)
    beside.replace(path.with_suffix(".npz"))
    rows = [{"group": s.group, "named": dict(s.named), "found": _found(s.readings)} for s in samples]
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({**header, "samples": rows}))
    temporary.replace(path)


def load_samples(path: Path) -> list[Sample]:
    """Reads what save_samples wrote."""
    rows = json.loads(path.read_text())["samples"]
    with np.load(path.with_suffix(".npz")) as arrays:
        features = {m: arrays[m].astype(np.float32) for m in arrays.files}
    return [Sample(row["group"], row["named"], _readings(row["found"], features, n)) for n, row in enumerate(rows)]


def _found(readings: Mapping[str, Reading]) -> dict[str, Any]:
    return {m: {"factors": r.factors, "events": [round(float(t), 5) for t in r.events]} for m, r in readings.items()}


def _readings(found: Mapping[str, Any], features: Mapping[str, np.ndarray], n: int) -> dict[str, Reading]:
    return {
        m: Reading(f["factors"], np.asarray(f["events"], dtype=np.float64), features[m][n]) for m, f in found.items()
    }
