"""The notebook runs top to bottom on the debug bundle, and shows what it says it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "any_to_any.ipynb"


@pytest.fixture(scope="module")
def executed(bundle, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODI_NOTEBOOK_MODEL", str(bundle))
        patch.setenv("CODI_NOTEBOOK_STEPS", "2")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setenv("OMP_NUM_THREADS", "1")
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        folder = str(tmp_path_factory.mktemp("notebook"))
        client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}})
        return client.execute()


def shown(notebook) -> list[str]:
    """The kinds of media that the cells show, in order."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    kinds = ("image/gif", "image/png", "text/html")
    return [kind for output in outputs for kind in kinds if kind in output.get("data", {})]


def test_it_shows_pictures_clips_and_sounds(executed):
    kinds = shown(executed)
    assert kinds.count("image/gif") == 2
    assert kinds.count("image/png") >= 4
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    pages = [output.data.get("text/html", "") for output in outputs if "data" in output]
    assert sum("<audio" in page for page in pages) == 1
    assert sum("<video" in page for page in pages) == 1


def test_nothing_is_printed_to_stderr(executed):
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


def test_the_committed_notebook_is_small_and_whole():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 2 * 2**20
    assert all(output.output_type != "error" for cell in notebook.cells for output in cell.get("outputs", ()))
