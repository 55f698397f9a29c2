"""`codi convert codi-v1`: what comes out of the published files, whole or damaged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from codi.apps import cli
from codi.backbones.codi_v1 import convert as converting
from codi.backbones.codi_v1.build import from_official
from codi.backbones.codi_v1.convert import convert
from codi.backbones.codi_v1.release import FILES
from codi.manifest import check_bundle
from codi.types import InputError
from tests.codi_v1 import small

VIDEO, ENCODERS = "CoDi_video_diffuser_8frames.pth", "CoDi_encoders.pth"


@pytest.fixture
def files(published, tmp_path) -> Path:
    """A copy of the files that a test may damage."""
    return Path(shutil.copytree(published, tmp_path / "files"))


def edit(path: Path, change) -> None:
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def test_the_bundle_holds_the_release_s_numbers(published, bundles):
    state = small.states()["unet"]
    built = from_official("unet", small.CONFIG, state, one_token=True)
    stored = load_file(next((bundles["official"] / "image_denoiser").glob("*.safetensors")))
    expected = built["image_denoiser"].state_dict()
    assert stored.keys() == expected.keys()
    assert all(torch.equal(stored[key], value) for key, value in expected.items())
    check_bundle(bundles["official"])
    assert json.loads((bundles["official"] / "model_index.json").read_text())["_class_name"] == "CoDiV1Pipeline"


def test_half_precision_files_give_the_same_bundle_in_half_and_no_rounded_tables(tmp_path, bundles):
    source = small.release(tmp_path / "half", dtype=torch.float16)
    convert(source, tmp_path / "bundle")
    for part in ("audio_denoiser", "clap"):
        half, full = (
            load_file(next((f / part).glob("*.safetensors"))) for f in (tmp_path / "bundle", bundles["official"])
        )
        for key, value in full.items():
            if value.is_floating_point():
                assert half[key].dtype == torch.float16
                assert torch.equal(half[key], value.half())
            else:
                assert torch.equal(half[key], value)


def test_the_schedule_is_computed_and_not_taken_from_the_files(pipes):
    from diffusers import DDIMScheduler

    exact = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    assert torch.allclose(pipes["official"].image_scheduler.alphas_cumprod, exact.alphas_cumprod)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_number_format_is_taken(published, tmp_path, dtype):
    convert(published, tmp_path / "bundle", dtype)
    stored = load_file(next((tmp_path / "bundle" / "text_denoiser").glob("*.safetensors")))
    assert {value.dtype for value in stored.values()} == {getattr(torch, dtype)}


@pytest.mark.parametrize("file", list(FILES))
def test_any_subset_converts_and_names_what_is_missing_and_who_brings_it(files, tmp_path, file):
    for other in FILES:
        if other != file:
            (files / other).unlink()
    summary = convert(files, tmp_path / "bundle")
    missing = [line for line in summary.lines if line.startswith("missing")]
    assert len(missing) == 3 and not any(file in line for line in missing)
    check_bundle(tmp_path / "bundle")


def test_a_bundle_without_a_part_names_the_file_that_brings_it(files, tmp_path, capsys):
    (files / "CoDi_audio_diffuser_m.pth").unlink()
    convert(files, tmp_path / "bundle")
    told = ["generate", "--model", str(tmp_path / "bundle"), "--inputs", "text=a", "--outputs", "audio"]
    capsys.readouterr()
    assert cli.run([*told, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert "CoDi_audio_diffuser_m.pth" in printed and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_vocabularies_that_are_not_there_are_named(files, tmp_path):
    shutil.rmtree(files / "tokenizers" / "gpt2")
    lines = convert(files, tmp_path / "bundle").lines
    assert [line for line in lines if "gpt2_tokenizer" in line]


def test_a_missing_frame_shift_becomes_the_identity_and_is_named(files, tmp_path):
    gone = "model.diffusion_model.unet_image.middle_block.2.1.frameshiftblock.out_layers."
    edit(files / VIDEO, lambda state: [state.pop(key) for key in list(state) if key.startswith(gone)])
    lines = convert(files, tmp_path / "bundle").lines
    assert [line for line in lines if "identity" in line and "middle_block.2.1.frameshiftblock" in line]
    stored = load_file(next((tmp_path / "bundle" / "video_frames").glob("*.safetensors")))
    assert not stored["layers.middle_2.shift.conv.weight"].any() and not stored["layers.middle_2.shift.conv.bias"].any()


def test_unknown_keys_are_reported_by_group_name_and_count(files, tmp_path):
    strange = {"model_ema.decay": torch.zeros(()), "model_ema.updates": torch.zeros(()), "note": "hello"}
    strange["model.diffusion_model.unet_video_interp.a"] = torch.zeros(1)
    edit(files / VIDEO, lambda state: state.update(strange))
    unknown = [line for line in convert(files, tmp_path / "bundle").lines if line.startswith("unknown")]
    assert any("model_ema" in line and "2 keys" in line for line in unknown)
    assert any("model.diffusion_model" in line and "unet_video_interp.a" in line for line in unknown)
    assert any("note" in line for line in unknown) and len(unknown) == 3


def test_of_a_key_in_two_files_the_last_counts_and_it_is_said(files, tmp_path):
    key = "model.diffusion_model.unet_image.connecters_out.0.0.bias"
    edit(files / "CoDi_text_diffuser.pth", lambda state: state.update({key: torch.full((32,), 7.0)}))
    lines = convert(files, tmp_path / "bundle").lines
    assert [line for line in lines if "1 keys of CoDi_text_diffuser.pth" in line]
    stored = load_file(next((tmp_path / "bundle" / "image_environment").glob("*.safetensors")))
    assert not (stored["conv_in.bias"] == 7).all()


class Code:
    """A pickle that would run something."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def cut_short(path: Path) -> None:
    """Half of the file with the directory of a zip still at its end."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3] + data[-len(data) // 3 :])


def with_code(path: Path) -> None:
    edit_with = torch.load(path, weights_only=True)
    torch.save(edit_with | {"trap": Code()}, path)


def no_dictionary(path: Path) -> None:
    torch.save(torch.zeros(3), path)


def another_shape(path: Path) -> None:
    edit(path, lambda state: state.update({"clip.model.text_projection.weight": torch.zeros(5, 5)}))


def not_whole(path: Path) -> None:
    edit(path, lambda state: state.pop("clip.model.visual_projection.weight"))


DAMAGE = {
    truncated: "truncated",
    cut_short: ENCODERS,
    with_code: "code",
    no_dictionary: "no dictionary",
    another_shape: "clip.model.text_projection.weight: has shape (5, 5)",
    not_whole: "visual_projection",
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_damaged_file_is_one_line_and_leaves_nothing(files, tmp_path, capsys, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    damage(files / ENCODERS)
    before = sorted(os.listdir(tmp_path))
    assert cli.run(["convert", "codi-v1", "--from", str(files), "--to", "bundle"]) == 2
    printed = capsys.readouterr().err
    assert DAMAGE[damage] in printed and printed.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == before


def test_an_interrupted_conversion_leaves_nothing(published, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(converting, "write_manifest", stop)
    with pytest.raises(KeyboardInterrupt):
        convert(published, tmp_path / "bundle")
    assert not os.listdir(tmp_path)


def test_places_and_words_that_cannot_be_used_are_named(published, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for arguments, word in (
        (["nothing", "--from", str(published), "--to", str(tmp_path / "b")], "nothing"),
        (["codi-v1", "--from", str(tmp_path / "empty"), "--to", str(tmp_path / "b")], "CoDi_encoders.pth"),
        (["codi-v1", "--from", str(tmp_path / "gone"), "--to", str(tmp_path / "b")], "gone"),
        (["codi-v1", "--from", str(published), "--to", str(tmp_path / "empty")], "exists"),
        (["codi-v1", "--from", str(published), "--to", str(tmp_path / "b"), "--dtype", "int4"], "int4"),
        (["codi-v1", "--from", str(published), "--to", str(tmp_path / "b"), "--mode", "other"], "other"),
    ):
        assert cli.run(["convert", *arguments]) == 2
        printed = capsys.readouterr().err
        assert word in printed and printed.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["empty"]


def test_one_file_is_mapped_at_a_time(published, monkeypatch):
    opened = []
    read = converting.read_pth
    monkeypatch.setattr(converting, "read_pth", lambda path: opened.append(path.name) or read(path))
    files = converting.Files(published)
    assert opened == list(FILES)
    state = files.part("unet")
    names = [name for name in state.names if name.startswith("unet_text")]
    assert [state[name] for name in names[:10]]
    assert opened[4:] == ["CoDi_text_diffuser.pth"]


def test_pull_without_network_is_one_line(tmp_path, capsys, monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", offline)
    assert cli.run(["pull", "codi-v1", "--to", str(tmp_path / "bundle")]) == 2
    printed = capsys.readouterr().err
    assert "network" in printed and printed.count("\n") == 1
    assert not os.listdir(tmp_path)


def test_pull_into_a_full_disk_says_so(tmp_path, capsys, monkeypatch):
    import huggingface_hub

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_, **__: list(FILES))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    assert cli.run(["pull", "codi-v1", "--to", str(tmp_path / "bundle")]) == 2
    printed = capsys.readouterr().err
    assert "No space left" in printed and printed.count("\n") == 1


@pytest.mark.parametrize("half", [False, True])
def test_pull_fetches_the_files_of_its_precision_and_converts(published, tmp_path, capsys, monkeypatch, half):
    import huggingface_hub

    listed = [*FILES, *(f"checkpoints_fp16/{name}" for name in FILES), "README.md"]
    asked = []

    def download(repository, path, revision=None, local_dir=None):
        asked.append((path, revision))
        known = published / Path(path).name
        place = Path(local_dir) / Path(path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = published / "tokenizers" / repository.split("/")[-1]
        shutil.copy(known if known.is_file() else folder / path, place)
        return str(place)

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, repository, revision=None: listed)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setenv("CODI_BUNDLES", str(tmp_path))
    monkeypatch.setattr("codi.backbones.codi_v1.convert.CONFIG", small.CONFIG)
    options = ["--revision", "v1", *(["--dtype", "float16"] if half else [])]
    assert cli.run(["pull", "codi-v1", *options]) == 0
    weights = [path for path, revision in asked if revision == "v1"]
    assert len(weights) == 4 and all(("fp16" in path) is half for path in weights)
    assert cli.run(["info", "--model", "codi-v1"]) == 0
    with pytest.raises(InputError, match="exists"):
        from codi.apps.weights import pull

        pull("codi-v1", None, None, None, "official", print)
