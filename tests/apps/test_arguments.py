"""The command line, word by word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codi.apps import arguments
from codi.modalities.image import media as image
from codi.modalities.text import media as text
from codi.types import At
from tests import samples


@pytest.mark.parametrize(
    ("typed", "expanded"),
    [
        ("generate --inputs a b --outputs c", "generate --inputs a --inputs b --outputs c"),
        ("generate --inputs a --out d --inputs b", "generate --inputs a --out d --inputs b"),
        ("generate --weights text=1 image=2 --seed -1", "generate --weights text=1 --weights image=2 --seed -1"),
        ("show file.png", "show file.png"),
        ("--help", "--help"),
        ("generate --inputs=a --out b", "generate --inputs=a --out b"),
    ],
)
def test_options_of_several_values_are_repeated(typed: str, expanded: str) -> None:
    assert arguments.expand(typed.split()) == expanded.split()


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    image.write(samples.picture(), Path("cat.png"), None)
    return "cat.png"


@pytest.mark.parametrize("form", ["image=cat.png", "cat.png", "./cat.png"])
def test_a_file_is_read_under_its_modality(form: str, picture: str) -> None:
    source = arguments.read_source(form, "--inputs")
    assert source.modality == "image" and source.path is not None
    assert np.array_equal(source.media, samples.picture())


def test_a_bare_file_is_known_by_its_content(picture: str) -> None:
    Path(picture).rename("a circle")
    assert arguments.read_source("a circle", "--inputs").modality == "image"


@pytest.mark.parametrize("form", ["a  red = circle", "text=a red = circle"])
def test_a_caption_may_hold_anything(form: str) -> None:
    source = arguments.read_source(form, "--inputs")
    assert (source.modality, source.media, source.path) == ("text", "a red = circle", None)


def test_a_caption_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text.write("a red circle", Path("c.txt"), None)
    for form in ("text=c.txt", "c.txt"):
        assert arguments.read_source(form, "--inputs").media == "a red circle"


def test_a_given_may_have_a_time(picture: str) -> None:
    source = arguments.read_source("image@0.5=cat.png", "--given")
    assert isinstance(source.placed, At) and source.placed.seconds == 0.5


def test_inputs_of_one_modality_stay_in_order(picture: str) -> None:
    sources = arguments.read_sources(["text=a", "cat.png", "b"], "--inputs")
    grouped = arguments.by_modality(sources)
    assert grouped["text"] == ["a", "b"] and grouped["image"] is sources[1].media


def test_weights() -> None:
    assert arguments.weights(["text=1,image=.5"], ("text", "image")) == {"text": 1.0, "image": 0.5}
    assert arguments.weights(["text=1", "image=.5"], ("text", "image")) == {"text": 1.0, "image": 0.5}
