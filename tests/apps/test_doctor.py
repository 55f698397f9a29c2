"""`codi doctor` on this installation, and on broken ones."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from codi.apps import cli, doctor


def _memory(monkeypatch: pytest.MonkeyPatch, free: float, available: float) -> None:
    """The machine has this much memory, in GiB; `free` leaves out what the page cache holds."""
    told = SimpleNamespace(free=int(free * 2**30), available=int(available * 2**30))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: told)


def test_a_whole_installation_is_said_to_be_whole(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _memory(monkeypatch, free=0.7, available=20)
    assert cli.run(["doctor", "--model", str(bundle)]) == 0
    told = capsys.readouterr().out
    assert all(line.startswith("ok  ") for line in told.splitlines())
    assert all(name in told for name in ("Python 3", "torch ", "torchaudio ", "ffmpeg", str(bundle)))


def test_a_torchaudio_of_another_build_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchaudio.py").write_text('raise OSError("libtorch_cuda.so: cannot open shared object file")')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = doctor._torchaudio()
    assert "libtorch_cuda.so" in finding.what and "does not fit torch" in finding.what
    assert "--index-url" in finding.remedy


def test_memory_that_files_pass_through_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    _memory(monkeypatch, free=0.7, available=20)
    finding = doctor._machine()
    assert "20.0 GiB of memory" in finding.what and not finding.remedy


def test_a_machine_that_is_short_of_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _memory(monkeypatch, free=0.7, available=1.5)
    finding = doctor._machine()
    assert "1.5 GiB of memory" in finding.what and "close something" in finding.remedy


def test_a_machine_whose_memory_cannot_be_looked_at_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    finding = doctor._machine()
    assert "psutil is missing" in finding.what and "pip install psutil" in finding.remedy


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda package: ["einops>=0.8", 'mcp>=1; extra == "mcp"', "no-such>=3"])
    finding = doctor._packages()
    assert "no-such>=3" in finding.what and 'pip install "no-such>=3"' in finding.remedy
    assert "einops" not in finding.what and "mcp" not in finding.what


def test_a_damaged_bundle_ends_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--model", str(tmp_path / "none")]) == 1
    assert "    -> give codi-mini or a folder" in capsys.readouterr().out
