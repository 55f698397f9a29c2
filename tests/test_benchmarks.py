"""The benchmark runs on any bundle and prints its sections; what it measures is not a test's business."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SECTIONS = (
    "The pipeline against a bare loop",
    "Joint generation against the sum of solo runs",
    "The bridges' share",
    "Achieved against attainable FLOP/s",
    "Cost against steps, batch, duration and outputs",
)


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("pipeline")


def test_the_benchmark_prints_its_sections_and_draws_the_plot(benchmark, bundle, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "cost.png"
    assert benchmark.main(["--model", str(bundle), "--quick", "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert [line[3:] for line in printed.splitlines() if line.startswith("## ")] == list(SECTIONS)
    assert "nan" not in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_missing_bundle_is_one_line(benchmark, capsys):
    assert benchmark.main(["--model", "no-such-bundle"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_bare_loop_makes_what_the_pipeline_makes(benchmark, pipe):
    ours = benchmark.called(pipe, ["image"], 2, guidance_scale=3.0)
    for batched in (False, True):
        theirs = benchmark.bare_call(pipe, "image", 2, 3.0, batched)
        assert float((ours.latents["image"] - theirs.latents["image"]).abs().max()) < 1e-4
