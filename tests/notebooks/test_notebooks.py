"""What a visitor sees first: notebooks, badges, environment files."""

import re
import tomllib

import nbformat
import pytest
import yaml

from molft_utils.making import pages
from molft_utils.making.pages import (
    ROOT,
    WIDGET,
    environment,
    execute,
    notebooks,
    repository,
    tidy,
    unwanted,
    with_repository,
)

HEADINGS = [
    "What you can do afterwards",
    "Set-up",
    "Idea",
    "By hand",
    "With the helper",
    "Results beside the report's",
    "What this shows, and what it does not",
    "Your turn",
    "Three questions",
]


@pytest.fixture(params=notebooks(), ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def test_notebook_was_run_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_notebook_follows_the_template(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert notebook.cells[0].source.startswith("[![Open in Colab]")
    assert text.count("<details>") == 3


def test_notebook_shows_no_paths_warnings_or_widget_states(notebook):
    assert not unwanted(notebook)
    assert "widgets" not in notebook.metadata
    assert not any(WIDGET in output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs)


def test_every_picture_has_a_text_alternative(notebook):
    pictures = [o for cell in code_cells(notebook) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert all(o.metadata["image/png"]["alt"] for o in pictures)


def test_checked_cells_have_the_marker_as_a_whole_comment(notebook):
    for cell in code_cells(notebook):
        if "NBVAL" in cell.source:
            assert re.search(r"^# NBVAL_CHECK_OUTPUT$", cell.source, re.MULTILINE)


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_notebook_files_are_small_and_name_the_repository(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 2_000_000
    assert with_repository(text, repository()) == text, "run `make badges`"
    assert f"{repository()}/blob/main/notebooks/{path.name}" in text


def test_set_up_cells_are_the_same():
    cells = {code_cells(nbformat.read(path, as_version=4))[0].source for path in notebooks()}
    assert len(cells) <= 1


def test_badges_are_rewritten_from_one_name():
    text = 'https://colab.research.google.com/github/a/b/blob/main/x REPOSITORY = "a/b" git clone https://github.com/a/b.git'
    new = with_repository(text, "lab/course")
    assert new.count("lab/course") == 3 and "a/b" not in new


def test_pages_lose_live_outputs():
    cell = nbformat.v4.new_code_cell("x", execution_count=1)
    cell.outputs = [
        nbformat.v4.new_output("display_data", {WIDGET: {}, "text/plain": "IntSlider()"}),
        nbformat.v4.new_output("stream", name="stderr", text="10%|#"),
        nbformat.v4.new_output("stream", name="stdout", text="kept"),
    ]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    tidy(notebook)
    assert "widgets" not in notebook.metadata and [o.text for o in notebook.cells[0].outputs] == ["kept"]


@pytest.mark.parametrize("text", ["see /home/me/x", "Traceback (most recent call last)", "FutureWarning: old"])
def test_unwanted_outputs_are_found(text):
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("stream", text=text)])
    assert unwanted(nbformat.v4.new_notebook(cells=[cell]))


def test_unwanted_error_streams_and_tracebacks_are_found_before_tidying():
    warned = nbformat.v4.new_output("stream", name="stderr", text="x.py:1: UserWarning: old")
    failed = nbformat.v4.new_output("error", ename="E", evalue="", traceback=["Traceback (most recent call last)"])
    cell = nbformat.v4.new_code_cell("x", outputs=[warned, failed])
    assert len(unwanted(nbformat.v4.new_notebook(cells=[cell]))) == 2


def test_a_warning_in_a_notebook_is_never_committed(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(pages, "PAGES", tmp_path / "pages")
    cell = nbformat.v4.new_code_cell("import warnings; warnings.warn('old')")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "01_x.ipynb")
    before = (tmp_path / "01_x.ipynb").read_text()
    with pytest.raises(SystemExit, match=r"01_x\.ipynb shows what a page should not.*Warning"):
        pages.run("smoke", refresh=True, only=[])
    assert (tmp_path / "01_x.ipynb").read_text() == before


def test_a_failing_cell_is_shown_with_its_error(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "NOTEBOOKS", tmp_path)
    cell = nbformat.v4.new_code_cell("answer = 1 / 0")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "01_x.ipynb")
    with pytest.raises(SystemExit, match=r"(?s)01_x\.ipynb stopped.*answer = 1 / 0.*ZeroDivisionError") as stop:
        execute(tmp_path / "01_x.ipynb", "smoke")
    assert "\x1b" not in str(stop.value)


def test_smoke_pictures_stay_out_of_the_figures(monkeypatch):
    monkeypatch.delenv("MOLFT_FIGURES", raising=False)
    assert environment("smoke")["MOLFT_FIGURES"].endswith("figures-smoke")
    assert "MOLFT_FIGURES" not in environment("class")
    monkeypatch.setenv("MOLFT_FIGURES", "elsewhere")
    assert environment("smoke")["MOLFT_FIGURES"] == "elsewhere"


def test_licence_is_apache_with_nobody_elses_name():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
    assert re.findall(r"Copyright (?!License|notice|owner).*", text.split("END OF TERMS")[1]) == [
        "Copyright [yyyy] [name of copyright owner]"
    ]


def test_environments_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for group in project["optional-dependencies"].values() for d in group)]
    names = {re.split(r"[<>=]", line)[0].lower() for line in wanted}
    pinned = {
        line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    }
    assert names <= pinned, f"without a tested version: {names - pinned}"
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert {"pip": ["-c constraints.txt", "-e .[lab,dev]"]} in conda["dependencies"]
