"""`codi evaluate`: all suites, resumed, and the page."""

from __future__ import annotations

import re

import pytest

from codi.apps.cli import run
from codi.evaluation import everything
from codi.evaluation.engines import Oracle
from codi.evaluation.everything import Share, count_steps, run_everything
from codi.evaluation.page import heat_map
from codi.types import InputError

SMALL = (
    Share("retrieval", 6),
    Share("solo", 4),
    Share("mesh", 8, only="looks-o", ceiling=8),
    Share("conflict", 2),
    Share("matrix", 1, only="text+image-"),
)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("codi.evaluation.evaluate.REFERENCES", 8)
    monkeypatch.setitem(everything.WORLDS, "sounding-shapes", {False: SMALL, True: SMALL})


class Counting(Oracle):
    calls = 0

    def __call__(self, *args, **options):
        type(self).calls += 1
        return super().__call__(*args, **options)


def test_all_suites_end_in_one_page_and_are_not_run_twice(small, tmp_path):
    seen = []
    page = run_everything(Counting(), "sounding-shapes", tmp_path, on_step=seen.append)
    assert len(seen) == count_steps("sounding-shapes", False)
    text = page.read_text()
    assert all(f"<summary>{share.suite}</summary>" in text for share in SMALL)
    assert text.count("<p>the oracle; seed 1</p>") == 1
    assert text.count("<img src='data:image/png;base64,") == 8
    assert not re.search(r"(src|href)=['\"]?(http|/)", text)
    assert len(list((tmp_path / "samples").rglob("video.mp4"))) == 8
    first = Counting.calls
    run_everything(Counting(), "sounding-shapes", tmp_path)
    assert Counting.calls == first + 2  # the samples of the page, bridges on and off


def test_the_heat_map_has_a_place_for_every_cell():
    table = heat_map({"text+image-video": {"adherence": {"video": {"mean": 0.75}}}})
    assert table.count("<td") == 225 and table.count("hsl(60 ") == 1 and "0.75" in table


def test_an_unknown_suite_is_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="sounding-shapes"):
        count_steps("mnist", False)
    assert run(["evaluate", "--model", "oracle", "--suite", "mnist", "--out", str(tmp_path / "new")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "mnist" in told
    assert not (tmp_path / "new").exists()


def test_the_command_writes_the_page(small, tmp_path, capsys):
    assert run(["evaluate", "--model", "oracle", "--quick", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "index.html")
