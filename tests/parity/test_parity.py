"""The release's numbers, in every part: see check.py, which runs the same on any folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from codi.backbones.codi_v1 import from_official
from codi.types import InputError
from tests.parity import check

FOLDER = Path(__file__).parent / "codi_v1"


@pytest.fixture(scope="module")
def fixtures() -> check.Fixtures:
    return check.Fixtures(FOLDER)


@pytest.mark.parametrize("part", list(check.CHECKS))
def test_a_part_makes_the_release_s_numbers(part, fixtures):
    errors = dict(fixtures.part(part))
    assert errors
    assert max(errors.values()) <= check.bound(part), errors


def test_all_that_was_asked_for_is_compared(fixtures):
    io = fixtures.io("unet")
    sets = {key.split(".")[1] for key in io if key.startswith("out.")}
    assert len(sets) == 8
    assert {(name, kind) for name in sets for kind in ("text", "mix")} <= {
        tuple(key.split(".")[1:3]) for key in io if key.startswith("out.")
    }


@pytest.mark.parametrize("part", ["unet", "kl", "audioldm", "clip", "clap", "optimus"])
def test_every_tensor_of_the_release_is_accounted_for(part, fixtures):
    report = fixtures.build(part).report
    assert not report.missing and not report.unused and not report.identity


def test_what_is_missing_or_unknown_is_named_and_nothing_is_random(fixtures):
    state = check.weights(FOLDER, "kl", 0) | {"surprise.weight": torch.zeros(3)}
    del state["quant_conv.weight"]
    built = from_official("kl", fixtures.config, state)
    assert built.report.missing == ["quant_conv.weight"] and built.report.unused == ["surprise.weight"]
    assert built["picture_autoencoder"].quant_conv.weight.is_meta


def test_a_missing_frame_shift_is_the_identity(fixtures):
    whole = check.weights(FOLDER, "unet", 0)
    gone = {key for key in whole if "input_blocks.1.0.1.frameshiftblock" in key}
    built = from_official("unet", fixtures.config, {key: value for key, value in whole.items() if key not in gone})
    assert set(built.report.identity) == {f"{key}" for key in gone} and not built.report.missing
    shift = built["video_frames"].layers["encoder_1"].shift
    hidden = torch.randn(6, shift.conv.in_channels, 4, 4)
    assert torch.equal(shift(hidden, 3), hidden)


def test_another_shape_is_one_line(fixtures):
    state = check.weights(FOLDER, "kl", 0)
    state["encoder.conv_in.weight"] = torch.zeros(8, 3, 3, 3)
    with pytest.raises(InputError, match=r"encoder\.conv_in\.weight.*shape.*asks for"):
        from_official("kl", fixtures.config, state)
    with pytest.raises(InputError, match=r"choose among"):
        from_official("nothing", fixtures.config, state)
    with pytest.raises(InputError, match="lacks"):
        from_official("kl", {}, state)


def test_the_script_says_what_is_wrong(tmp_path, capsys):
    assert check.main([str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err


def test_the_script_fails_where_a_number_is_wrong(tmp_path, capsys, monkeypatch):
    shutil.copytree(FOLDER, tmp_path / "other")
    monkeypatch.setattr(check, "CHECKS", {"optimus": check.check_optimus})
    assert check.main([str(tmp_path / "other"), "--seed", "0"]) == 0
    assert "ok" in capsys.readouterr().out
    assert check.main([str(tmp_path / "other"), "--seed", "1"]) == 1
    assert "beyond" in capsys.readouterr().out
