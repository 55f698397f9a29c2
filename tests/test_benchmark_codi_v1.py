"""The codi-v1 benchmark runs at a narrow width and prints its table; what it measures is not a test's business."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("codi_v1")


def test_every_saving_is_stated_beside_diffusers_and_exact(benchmark, monkeypatch, capsys):
    # Peak memory takes a process for each variant, and a long time to start them.
    monkeypatch.setattr(benchmark, "peaks", lambda size, device: dict.fromkeys(benchmark.VARIANTS, 2**20))
    assert benchmark.main(["--quick"]) == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [row[0].strip() for row in rows] == list(benchmark.VARIANTS)
    for name, parameters, *_, difference in rows:
        if "readers" not in name:
            assert float(difference) < 1e-4
        if "dead" in name or "diffusers" in name:
            assert float(parameters) > float(rows[0][1])
