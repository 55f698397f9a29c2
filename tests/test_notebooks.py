"""The notebooks run top to bottom on the debug bundle, and show what they say they show."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def run(bundle, tmp_path_factory):
    """Name -> the notebook, executed once."""
    done = {}

    def of(name):
        if name not in done:
            done[name] = execute(FOLDER / f"{name}.ipynb", bundle, tmp_path_factory)
        return done[name]

    return of


def execute(path, bundle, tmp_path_factory):
    """On the bundle in two steps; where it is None, as a reader does, on what the notebook names."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"CODI_NOTEBOOK_MODEL": bundle, "CODI_NOTEBOOK_STEPS": bundle and 2}.items():
            patch.delenv(name, raising=False)
            if value:
                patch.setenv(name, str(value))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setenv("OMP_NUM_THREADS", "1")
        notebook = nbformat.read(path, as_version=4)
        folder = str(tmp_path_factory.mktemp("notebook"))
        client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}})
        return client.execute()


def outputs_of(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def shown(notebook) -> list[str]:
    """The kinds of media that the cells show, in order."""
    outputs = outputs_of(notebook)
    kinds = ("image/gif", "image/png", "text/html")
    return [kind for output in outputs for kind in kinds if kind in output.get("data", {})]


def test_any_to_any_shows_pictures_clips_and_sounds(run):
    kinds = shown(run("any_to_any"))
    assert kinds.count("image/gif") == 2
    assert kinds.count("image/png") >= 4
    pages = [output.data.get("text/html", "") for output in outputs_of(run("any_to_any")) if "data" in output]
    assert sum("<audio" in page for page in pages) == 1
    assert sum("<video" in page for page in pages) == 1


def test_bridges_shows_on_and_off_and_the_scales(run):
    assert shown(run("bridges")).count("image/png") == 4
    printed = "".join(output.text for output in outputs_of(run("bridges")) if output.get("name") == "stdout")
    assert printed.count("event F1") == 8


def test_evaluate_shows_tables_and_the_heat_map(run):
    data = [output.data for output in outputs_of(run("evaluate")) if "data" in output]
    assert any("| text-video | video | 8 |" in shown.get("text/markdown", "") for shown in data)
    assert any(shown.get("text/html", "").count("<td") == 225 for shown in data)


def test_train_your_own_learns_a_bundle_and_shows_what_it_makes(run):
    notebook = run("train_your_own")
    printed = "".join(output.text for output in outputs_of(notebook) if output.get("name") == "stdout")
    assert "parameters learned to couple" in printed and printed.count("colour and pitch agree") == 2
    assert shown(notebook).count("image/png") == 3


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_is_printed_to_stderr(run, name):
    assert [output.text for output in outputs_of(run(name)) if output.get("name") == "stderr"] == []


@pytest.mark.full
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_on_the_shipped_bundle_it_shows_as_much_as_the_committed_one(name, tmp_path_factory):
    path = FOLDER / f"{name}.ipynb"
    made = execute(path, None, tmp_path_factory)
    assert shown(made) == shown(nbformat.read(path, as_version=4))
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in outputs_of(made))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_committed_notebook_is_small_and_whole(name):
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 2 * 2**20
    assert all(
        cell.get("outputs") for cell in notebook.cells[2:] if cell.cell_type == "code" and "def " not in cell.source
    )
    assert all(output.output_type != "error" for output in outputs_of(notebook))
