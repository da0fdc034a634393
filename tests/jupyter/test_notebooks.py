"""The notebooks run as they are, in fresh kernels, twice in a row; and are kept without outputs."""

from __future__ import annotations

import json
import re
import warnings

import pytest

from tests.requirements import ROOT, require

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECRET = re.compile(r"syt_|access_token\W+[:=]\s*\"\w|password\W+[:=]\s*['\"][^'\"]|/home/|/Users/")


def cells(path):
    return json.loads(path.read_text())["cells"]


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS] == ["01-first-collection.ipynb", "02-sensor-fleet.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_one_title_and_its_sections_below_it(path):
    texts = ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown"]
    assert texts[0].startswith("# ")
    headings = re.findall(r"^(#*) ", "\n".join(texts), re.MULTILINE)
    assert headings[0] == "#"
    assert set(headings[1:]) == {"##"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_secrets_and_places(path):
    for cell in cells(path):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
        assert not SECRET.search("".join(cell["source"]))
        assert not cell["metadata"]
    assert set(json.loads(path.read_text())["metadata"]) == {"kernelspec", "language_info"}


def executed(path, home):
    """A copy of a notebook with its outputs, run in a fresh kernel that ends with it."""
    require("kernel")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jupyter's own packages, about each other
        import nbformat
        from nbclient import NotebookClient

        notebook = nbformat.read(path, as_version=4)
        NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(home.parent)}}
        ).execute()
    return notebook


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def made(notebook):
    """The ids of the rooms that were shown, in order."""
    text = "".join(output.get("data", {}).get("text/plain", "") for output in outputs(notebook))
    return set(re.findall(r"![\w-]{43}", text))


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_twice_in_a_row_and_the_second_run_makes_no_second_room(
    path, matrixdata_home, monkeypatch
):
    pytest.importorskip("vega_datasets", reason="needs the data of the notebooks (extra: demo)")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(matrixdata_home.parent / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    first, second = executed(path, matrixdata_home), executed(path, matrixdata_home)
    assert made(first) == made(second) != set()
    for notebook in (first, second):
        shown = [data for output in outputs(notebook) if (data := output.get("data"))]
        assert "image/png" in shown[-1], "it ends in a figure"
        assert not [output for output in outputs(notebook) if output["output_type"] == "error"]
        assert "<script" not in "".join(data.get("text/html", "") for data in shown)
