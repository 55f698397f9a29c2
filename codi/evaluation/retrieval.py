"""Retrieval between modalities in the shared space: does the nearest medium of another modality show the same?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any, Final

import numpy as np

from codi.evaluation.engines import Engine
from codi.evaluation.faces import FACES
from codi.worlds.sounding_shapes.factors import SHOWN
from codi.worlds.sounding_shapes.scene import Scene, sample_scene

CHUNK: Final = 32
Row = dict[str, Any]


def score_retrieval(engine: Engine, count: int, seed: int) -> list[Row]:
    """Recall at 1 for every ordered pair of modalities.

    The gallery holds one medium for each of `count` fresh scenes. A hit is a medium that agrees with the query in all
    factors that both modalities show; a text names exactly those. Chance is the mean share of such media.

    Returns:
        Rows of query, gallery, recall and chance.
    """
    rng = np.random.default_rng((seed, 9))
    scenes = [sample_scene(rng) for _ in range(count)]
    rows = []
    for query, gallery in permutations(SHOWN, 2):
        both = [name for name in SHOWN[query] if name in SHOWN[gallery]]
        ours, theirs = (_embed(engine, m, scenes, both, seed) for m in (query, gallery))
        truth = np.array([[scene.factors.get(name, "") for name in both] for scene in scenes])
        same = (truth[:, None] == truth[None]).all(-1)
        nearest = (ours @ theirs.T).argmax(1)
        recall = float(same[np.arange(count), nearest].mean())
        rows.append({"query": query, "gallery": gallery, "recall": recall, "chance": float(same.mean())})
    return rows


def _embed(engine: Engine, modality: str, scenes: Sequence[Scene], named: Sequence[str], seed: int) -> np.ndarray:
    """[scenes, d] of unit length."""
    rng = np.random.default_rng((seed, len(modality)))
    media = [FACES[modality].tell(scene, set(named) & set(scene.factors), rng) for scene in scenes]
    parts = [engine.embed(modality, media[n : n + CHUNK]) for n in range(0, len(media), CHUNK)]
    vectors = np.concatenate(parts)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9))


def render_retrieval(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [f"| {r['query']} | {r['gallery']} | {r['recall']:.3f} | {r['chance']:.3f} |" for r in rows]
    head = ["# retrieval", "", "| query | gallery | recall at 1 | chance |", "|---|---|---|---|"]
    return "\n".join([*head, *lines, ""])
