"""What a reader sees first: the notebooks as they are committed."""

import re
import tomllib

import nbformat
import pytest

from molft_utils.files import ROOT
from notebooks import UNWANTED, set_up_cell

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if path.stem != "report"]  # the appendix follows no template
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["molft"]["repository"]

HEADINGS = [
    "What you can do afterwards",
    "Set-up",
    "Idea",
    "By hand",
    "With the helper",
    "What this shows, and what it does not",
    "Your turn",
    "Questions",
]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def test_notebook_was_run_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("notebook", LESSONS, ids=lambda path: path.stem, indirect=True)
def test_notebook_follows_the_template(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.findall(r"^## (.+?)(?: \(\d+ min\))?$", text, re.MULTILINE) == HEADINGS
    assert notebook.cells[0].source.startswith("[![Open in Colab]")


def test_a_lesson_is_short_and_asks_before_it_shows(notebook):
    text = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    lessons = [cell.source for cell in code_cells(notebook) if cell is not set_up_cell(notebook)]
    assert len(notebook.cells) <= 42 and text.count("**Predict before you run.**") >= 3
    assert all(len(source.split("\n")) <= 15 for source in lessons)
    assert max(len(line) for source in lessons for line in source.split("\n")) <= 110


def test_notebook_shows_no_paths_warnings_or_widget_states(notebook):
    shown = [{**o, "data": {**o.get("data", {}), "image/png": ""}} for c in code_cells(notebook) for o in c.outputs]
    assert not UNWANTED.search(str(shown)) and "widget-view" not in str(shown)
    assert "widgets" not in notebook.metadata


def test_every_picture_has_a_text_alternative(notebook):
    pictures = [o for cell in code_cells(notebook) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert all(o.metadata["image/png"]["alt"] for o in pictures)


def test_checked_cells_have_the_marker_as_a_whole_comment(notebook):
    for cell in code_cells(notebook):
        if "NBVAL" in cell.source:
            assert re.search(r"^# NBVAL_CHECK_OUTPUT$", cell.source, re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_files_are_small_and_name_the_repository(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 2_000_000
    assert f"{REPOSITORY}/blob/main/notebooks/{path.name}" in text, "run `make badges`"


def test_the_set_up_cell_comes_from_one_source_and_is_folded(notebook):
    first = set_up_cell(notebook)
    assert first.source == set_up_cell(nbformat.read(NOTEBOOKS[0], as_version=4)).source, "run `make badges`"
    assert first.metadata["cellView"] == "form" and first.metadata["jupyter"]["source_hidden"]
    compile(first.source, "set-up", "exec")


def test_every_figure_belongs_to_a_notebook_or_the_readme():
    texts = "\n".join(path.read_text(encoding="utf-8") for path in (*NOTEBOOKS, ROOT / "README.md"))
    left_over = [p.name for p in (ROOT / "figures").iterdir() if p.stem not in texts]
    assert not left_over
