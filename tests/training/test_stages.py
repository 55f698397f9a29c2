"""`python -m codi.training STAGE key=value`: what can be set, and what is refused before anything is trained."""

from __future__ import annotations

import pytest

from codi.training.__main__ import STAGES, configured, main
from codi.types import InputError


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_its_file(name):
    stage, settings = configured(name, [])
    assert callable(stage) and settings


def test_overrides_take_the_place_of_the_files_settings():
    _, settings = configured("bridges", ["fit.steps=7", "fit.seed=3", "sets.video+audio=0.5", "only=[audio_bridge]"])
    assert (settings.fit.steps, settings.fit.seed, settings.sets["video+audio"]) == (7, 3, 0.5)
    assert list(settings.only) == ["audio_bridge"] and settings.fit.batch == 16


@pytest.mark.parametrize("wrong", ["flsh=2", "fit.stesp=2", "fit.steps.more=1", "steps", "fit.steps"])
def test_a_setting_that_there_is_not_is_refused(wrong):
    with pytest.raises(InputError, match=r"bridges .* is not one of its settings; give key=value, key one of shift, "):
        configured("bridges", [wrong])


def test_bad_input_is_one_line_and_status_2(capsys):
    assert main(["bridgse"]) == 2
    assert capsys.readouterr().err.startswith("bridgse: is not a stage; choose among autoencoder_image, ")
    assert main(["--help"]) == 0 and "Stages: " in capsys.readouterr().out


def test_a_blend_of_one_is_refused(capsys):
    assert main(["blend", "bundles=[]"]) == 2
    assert capsys.readouterr().err == (
        "bundles: are fewer than two, or differ in parts; name bundles trained on from the same one\n"
    )
