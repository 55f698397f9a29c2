"""The comparison's tables: an arm has one line, and its other settings stand in it."""

from __future__ import annotations

from pathlib import Path

from codi.ablations.report import Row, beside, summary, table

DOCS = Path(__file__).parents[2] / "docs"


def row(arm: str, setting: str, f1: float) -> Row:
    synchrony = {"mean": f1, "low": f1 - 0.1, "high": f1 + 0.1, "floor": 0.15, "shift_1": 0.05}
    figures = {
        "samples": 8,
        "synchrony": {"video-audio": synchrony},
        "agreement": {"video-audio": {"factors": {"colour": 0.25, "tempo": 0.5}}},
        "adherence": {"video": {"mean": 0.875}, "audio": {"mean": 1.0}},
    }
    return Row(arm, setting, [figures], given=("video",) if setting == "given clip" else ())


ROWS = [row("theirs", "", 0.2), row("ours", "", 0.8), row("ours", "scale 4", 0.7), row("ours", "given clip", 0.95)]


def test_an_arm_has_one_line_with_its_other_settings() -> None:
    theirs, ours = (line.strip("| ").split(" | ") for line in summary(ROWS).splitlines()[2:])
    assert theirs[:4] == ["theirs", "**0.200** (0.10 to 0.30)", "", ""]
    assert ours[:4] == ["ours", "**0.800** (0.70 to 0.90)", "", "0.95"]


def test_every_setting_has_a_line_of_its_own() -> None:
    titles = [line.split(" | ")[0].strip("| ") for line in table(ROWS).splitlines()[2:]]
    assert titles == ["theirs", "ours", "ours, scale 4", "ours, given clip"]
    assert beside(ROWS[1], ROWS) == {"scale 4": 0.7, "given clip": 0.95}


def test_a_given_clip_is_not_said_to_obey() -> None:
    obeys = [line.strip("|").split("|")[6].strip() for line in table(ROWS).splitlines()[2:]]
    assert obeys == ["0.88", "0.88", "0.88", ""]


def test_the_page_shows_the_measured_table() -> None:
    measured = (DOCS / "ablations" / "ablations.md").read_text().split("## Every setting")[0]
    lines = [line for line in measured.splitlines() if line.startswith("| ")]
    assert len(lines) > 10
    page = (DOCS / "bridges.md").read_text()
    assert "\n".join(lines) in page
