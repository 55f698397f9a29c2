"""Bundles: where they are found, what they hold, how damage shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from codi import bundles
from codi.manifest import write_manifest
from codi.types import InputError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text('{"_class_name": "CoDiPipeline", "unet": ["diffusers", "UNet2DModel"]}')
    save_file({"a": np.zeros((3, 4), np.float16), "b": np.zeros(5, np.float32)}, folder / "unet" / "w.safetensors")
    return folder


def test_a_folder_and_a_shipped_name_are_found(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bundles.find_bundle(str(bundle)) == bundle
    monkeypatch.setattr(bundles, "shipped", lambda: (bundle.parent,))
    assert bundles.find_bundle("mine") == bundle


def test_a_checkout_comes_before_the_packaged_copy() -> None:
    assert [place.name for place in bundles.shipped()] == ["checkpoints", "_bundle"]


@pytest.mark.parametrize("name", ["", "nothing", "org/name", "/no/where", "a\0b"])
def test_what_is_no_bundle_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"codi-mini or a folder that holds model_index\.json"):
        bundles.find_bundle(name)


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder without model_index\.json"):
        bundles.find_bundle(str(tmp_path))


def test_parameters_are_counted_from_headers(bundle: Path) -> None:
    (part,) = bundles.components(bundle)
    assert (part.name, part.parameters) == ("unet/w.safetensors", 17)
    assert part.size == (bundle / part.name).stat().st_size


@pytest.mark.parametrize("cut", [0, 4, 20, -3])
def test_a_truncated_weight_file_is_named(bundle: Path, cut: int) -> None:
    path = bundle / "unet" / "w.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"w\.safetensors: is a damaged weight file"):
        list(bundles.components(bundle))


def test_the_hash_is_of_the_files_with_a_manifest_or_without(bundle: Path) -> None:
    plain = bundles.bundle_hash(bundle)
    write_manifest(bundle)
    assert bundles.bundle_hash(bundle) == plain
    (bundle / "README.md").write_text("told anew")
    assert bundles.bundle_hash(bundle) == plain, "what a card says changes nothing"


def test_what_is_written_beside_the_components_changes_no_hash(bundle: Path) -> None:
    plain = bundles.bundle_hash(bundle)
    (bundle / "out").mkdir()
    (bundle / "out" / "video.mp4").write_bytes(b"made")
    assert bundles.bundle_hash(bundle) == plain


def test_other_weights_have_another_hash(bundle: Path) -> None:
    """Else an evaluation would go on with the samples of the weights before."""
    plain, path = bundles.bundle_hash(bundle), bundle / "unet" / "w.safetensors"
    weights = bytearray(path.read_bytes())
    weights[-1] ^= 1
    path.write_bytes(weights)
    assert bundles.bundle_hash(bundle) != plain


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_index_is_named(bundle: Path, text: str) -> None:
    (bundle / "model_index.json").write_text(text)
    with pytest.raises(InputError, match=r"model_index\.json: is not the index of a bundle"):
        bundles.find_bundle(str(bundle))
