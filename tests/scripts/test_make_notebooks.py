"""Running notebooks: what is written back, what is refused, and one set-up cell in all of them."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import notebooks

BADGE = "https://colab.research.google.com/github/a/b/blob/v1/notebooks/01_x.ipynb"


def write(path, *cells, **metadata):
    nbformat.write(new_notebook(cells=list(cells), metadata=metadata), path)
    return path


def test_outputs_are_written_back_without_what_only_a_live_kernel_shows(tmp_path):
    widget = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider()"})
    outputs = [widget, new_output("stream", name="stderr", text="10%|#"), new_output("stream", text="kept")]
    executed = write(tmp_path / "made.ipynb", new_code_cell("x", outputs=outputs), widgets={"state": {}})
    assert notebooks.write_back(executed, tmp_path / "x.ipynb")
    notebook = nbformat.read(tmp_path / "x.ipynb", as_version=4)
    assert "widgets" not in notebook.metadata and [o.text for o in notebook.cells[0].outputs] == ["kept"]


@pytest.mark.parametrize("text", ["see /home/me/x", "FutureWarning: old", "Traceback (most recent call last)"])
def test_a_path_of_the_machine_or_a_warning_is_not_written_back(tmp_path, text):
    cell = new_code_cell("x", outputs=[new_output("stream", name="stderr", text=text)])
    assert not notebooks.write_back(write(tmp_path / "made.ipynb", cell), tmp_path / "x.ipynb")


def test_a_failing_notebook_is_told_and_the_next_one_runs(tmp_path, monkeypatch):
    write(tmp_path / "1.ipynb", new_code_cell("1 / 0"))
    picture = "display({'image/png': 'AA=='}, raw=True, metadata={'image/png': {'alt': 'a blue line', 'width': 9}})"
    write(tmp_path / "2.ipynb", new_code_cell("import os; print(os.environ['MOLFT_PROFILE'])"), new_code_cell(picture))
    monkeypatch.setattr(notebooks, "NOTEBOOKS_FOLDER", tmp_path)
    monkeypatch.setattr(notebooks, "RUNS_FOLDER", tmp_path / "runs")
    monkeypatch.setattr(notebooks.sys, "argv", ["notebooks.py", "run"])
    monkeypatch.delenv("MOLFT_PROFILE")
    with pytest.raises(SystemExit, match=r"failed: 1\.ipynb"):
        notebooks.main()
    page = (tmp_path / "runs" / "pages" / "2.html").read_text()
    assert "class" in page and 'alt="a blue line"' in page
    assert not (tmp_path / "runs" / "pages" / "1.html").exists()


def test_badges_and_the_set_up_cell_come_from_one_place(tmp_path):
    first = write(tmp_path / "1.ipynb", new_markdown_cell(BADGE), new_code_cell("clone https://github.com/a/b HOME"))
    second = write(tmp_path / "2.ipynb", new_markdown_cell(BADGE), new_code_cell("old"), new_code_cell("a/b/c"))
    readme = tmp_path / "README.md"
    readme.write_text("git clone https://github.com/a/b && cd b; /content/a/b_utils")
    for _ in range(2):  # the second time changes nothing
        notebooks.badges([first, second, readme], "lab/course")
    cells = nbformat.read(second, as_version=4).cells
    assert cells[0].source == BADGE.replace("a/b", "lab/course").replace("v1", "main")
    assert cells[1].source == "clone https://github.com/lab/course HOME"
    assert readme.read_text() == "git clone https://github.com/lab/course && cd b; /content/a/b_utils"
