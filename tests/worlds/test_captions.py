from __future__ import annotations

import numpy as np
import pytest

from codi.worlds.sounding_shapes import FACTORS, caption, full_caption, read_caption, sample_scene
from codi.worlds.sounding_shapes.lexicon import WORDS


def draws(count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        scene = sample_scene(rng, "all")
        yield scene, {n for n in FACTORS if rng.random() < 0.6}, rng


@pytest.mark.parametrize("wording", ["train", "held_out"])
def test_a_caption_names_exactly_the_named_factors(wording):
    for scene, named, rng in draws(1500):
        wanted = {n: v for n, v in scene.factors.items() if n in named}
        text = caption(scene, named, rng, wording)
        assert read_caption(text) == wanted, text


def test_full_captions_are_read_exactly_and_use_few_words():
    texts = set()
    for scene, _, rng in draws(1500):
        text = full_caption(scene, rng)
        assert read_caption(text) == scene.factors
        texts.add(text)
    assert len({word for text in texts for word in text.split()}) < 45


def test_wordings_are_many():
    scene = sample_scene(np.random.default_rng(0), motion="bounce")
    rng = np.random.default_rng(1)
    assert len({caption(scene, FACTORS, rng) for _ in range(500)}) > 450


def test_held_out_words_are_not_in_the_training_captions():
    for tables in WORDS.values():
        for table in tables:
            for words in table.values():
                assert not set(words["train"]) & set(words["held_out"])


def test_no_expression_means_two_things():
    meanings: dict[str, set[tuple[str, str]]] = {}
    for factor, tables in WORDS.items():
        for table in tables:
            for value, words in table.items():
                for word in {*words["train"], *words["held_out"]}:
                    meanings.setdefault(word, set()).add((factor, value))
    assert all(len(found) == 1 for found in meanings.values())


def test_naming_nothing_gives_a_caption_that_says_nothing():
    scene = sample_scene(np.random.default_rng(0))
    text = caption(scene, (), np.random.default_rng(0))
    assert text and read_caption(text) == {}


def test_the_tempo_of_a_still_scene_is_never_named():
    rng = np.random.default_rng(0)
    for _ in range(100):
        assert "tempo" not in read_caption(caption(sample_scene(rng, motion="still"), FACTORS, rng))


def test_a_contradiction_names_nothing():
    assert read_caption("a red and blue star") == {"shape": "star"}
    assert read_caption("A Small RED ball, bouncing quickly!") == {
        "shape": "circle", "colour": "red", "size": "small", "motion": "bounce", "tempo": "fast",
    }  # fmt: skip
