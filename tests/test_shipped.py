"""The shipped bundle does what it is for: a few prompts, through the public API, read back by the world's readers.

The bounds are far above chance and below what the model card reports: they catch a broken bundle, not a worse one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from codi import CoDiPipeline
from codi.backbones.codi_mini import SHIFTS
from codi.evaluation.cells import Cell, sample_cell
from codi.evaluation.engines import PipelineEngine
from codi.evaluation.retrieval import score_retrieval
from codi.evaluation.scores import score
from codi.types import ClipSpec

EVERY = ("text", "image", "audio", "video")


@pytest.fixture(scope="module")
def engine() -> PipelineEngine:
    pipeline = CoDiPipeline.from_pretrained("codi-mini")
    pipeline.set_progress_bar_config(disable=True)
    return PipelineEngine(pipeline, {"num_inference_steps": 12})


def test_it_samples_as_its_backbone_says(engine):
    shifts = {name: getattr(engine.pipeline, f"{name}_scheduler").config.shift for name in EVERY}
    assert shifts == SHIFTS


@pytest.fixture(scope="module")
def figures(engine):
    return score(sample_cell(engine, Cell("smoke", ("text",), EVERY, naming="all"), 8, seed=3))


@pytest.mark.parametrize(
    ("modality", "factor", "least"),
    [
        *(("text", factor, 0.8) for factor in ("shape", "colour", "size", "motion", "tempo")),
        *(("image", "shape", 0.5), ("image", "colour", 0.8)),
        *(("audio", factor, 0.6) for factor in ("shape", "colour", "motion", "tempo")),
        *(("video", "shape", 0.6), ("video", "colour", 0.8), ("video", "motion", 0.6)),
    ],
)
def test_each_output_obeys_a_text(figures, modality, factor, least):
    assert figures["adherence"][modality]["factors"][factor] >= least


def test_a_clip_and_its_sound_hit_together_and_only_with_the_bridges_on(engine):
    cell = Cell("synchrony", ("text",), ("video", "audio"), naming="timed")
    on, off = (
        score(sample_cell(engine, replace(cell, options=options), 16, seed=3))["synchrony"]["video-audio"]
        for options in ({}, {"bridge_scale": 0.0})
    )
    assert on["event_f1"] >= 0.7
    assert off["event_f1"] <= 0.4


def test_media_of_one_scene_meet_in_the_shared_space(engine):
    rows = score_retrieval(engine, count=48, seed=3)
    assert np.mean([row["recall"] for row in rows]) > 0.7
    assert np.mean([row["chance"] for row in rows]) < 0.2


def test_a_sound_follows_a_given_clip_and_a_clip_a_picture_at_an_instant(engine):
    bare = Cell("dub", (), ("audio",), naming="nothing", given=("video",))
    dubbed = score(sample_cell(engine, bare, 16, seed=3))
    assert dubbed["synchrony"]["video-audio"]["event_f1"] >= 0.8
    assert dubbed["agreement"]["video-audio"]["factors"]["colour"] >= 0.6
    seen = replace(bare, outputs=("video",), given=("image",), at=0.5)
    assert score(sample_cell(engine, seen, 8, seed=3))["agreement"]["image-video"]["factors"]["colour"] >= 0.6


def test_texts_decoded_together_are_those_decoded_alone_for_no_longer_than_they_last(engine, monkeypatch):
    text, clip = engine.pipeline.engine("text"), ClipSpec()
    said = ("a red ball", "a small blue star that bounces at a fast tempo")
    latents = [text.encode(one, clip) for one in said]
    logits, passes = text.autoencoder.logits, []
    monkeypatch.setattr(text.autoencoder, "logits", lambda raw, words: passes.append(1) or logits(raw, words))
    alone, counts = [], []
    for latent in latents:
        passes.clear()
        alone += text.decode(latent, clip)
        counts.append(len(passes))
    assert [len(text.tokenizer.tokenize(one)) + 1 for one in alone] == counts  # the end is a word too
    assert counts[0] != counts[1]
    passes.clear()
    assert text.decode(torch.cat(latents), clip) == alone
    assert len(passes) == max(counts)
