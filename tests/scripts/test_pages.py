"""Pages: what running a notebook leaves, and what may not be seen on a page."""

import nbformat
import pytest

from molft_utils.files import ROOT
from molft_utils.making import html, pages
from molft_utils.making.pages import WIDGET, environment, execute, tidy, unwanted, with_repository


def test_badges_are_rewritten_from_one_name():
    text = "https://colab.research.google.com/github/a/b/blob/main/x git clone https://github.com/a/b.git"
    new = with_repository(text, "lab/course", "v2.0.0")
    assert new.count("lab/course") == 2 and "a/b" not in new and "/blob/v2.0.0/x" in new


def test_the_set_up_cell_is_written_into_a_notebook_once():
    cells = [nbformat.v4.new_markdown_cell("a"), nbformat.v4.new_code_cell("old"), nbformat.v4.new_code_cell("mine")]
    text = nbformat.writes(nbformat.v4.new_notebook(cells=cells))
    new = pages.with_setup(text)
    sources = [cell.source for cell in nbformat.reads(new, as_version=4).cells]
    assert sources == ["a", pages.setup_cell(), "mine"]
    assert pages.with_setup(new) == new
    assert f'"{pages.repository()}", "{pages.tag()}"' in pages.setup_cell()


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
    monkeypatch.setattr(pages, "NOTEBOOKS_FOLDER", tmp_path)
    monkeypatch.setattr(html, "PAGES_FOLDER", tmp_path / "pages")
    cell = nbformat.v4.new_code_cell("import warnings; warnings.warn('old')")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "01_x.ipynb")
    before = (tmp_path / "01_x.ipynb").read_text()
    with pytest.raises(SystemExit, match=r"01_x\.ipynb shows what a page should not.*Warning"):
        pages.run("smoke", refresh=True, only=[])
    assert (tmp_path / "01_x.ipynb").read_text() == before


def test_a_failing_cell_is_shown_with_its_error(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "NOTEBOOKS_FOLDER", tmp_path)
    cell = nbformat.v4.new_code_cell("answer = 1 / 0")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "01_x.ipynb")
    with pytest.raises(SystemExit, match=r"(?s)01_x\.ipynb stopped.*answer = 1 / 0.*ZeroDivisionError") as stop:
        execute(tmp_path / "01_x.ipynb", "smoke")
    assert "\x1b" not in str(stop.value)


@pytest.mark.parametrize(
    ("profile", "refresh", "folder"),
    [
        ("class", False, "runs/figures"),
        ("best", False, "runs/figures"),
        ("class", True, "figures"),
        ("smoke", False, "runs/figures-smoke"),
        ("smoke", True, "runs/figures-smoke"),
    ],
)
def test_only_a_refresh_draws_into_the_committed_figures(profile, refresh, folder, monkeypatch):
    monkeypatch.delenv("MOLFT_FIGURES", raising=False)
    assert environment(profile, refresh)["MOLFT_FIGURES"] == str(ROOT / folder)
    monkeypatch.setenv("MOLFT_FIGURES", "elsewhere")
    assert environment(profile, refresh)["MOLFT_FIGURES"] == "elsewhere"


@pytest.mark.parametrize(("refresh", "folder"), [(False, "runs/figures"), (True, "figures")])
def test_a_notebook_is_told_where_its_figures_go(refresh, folder, tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("MOLFT_FIGURES", raising=False)
    monkeypatch.setattr(pages, "NOTEBOOKS_FOLDER", tmp_path)
    cell = nbformat.v4.new_code_cell("import os; print(os.environ['MOLFT_FIGURES'])")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "01_x.ipynb")
    notebook = execute(tmp_path / "01_x.ipynb", "class", refresh)
    assert notebook.cells[0].outputs[0].text.strip() == str(ROOT / folder)
    assert "WARNING" not in capfd.readouterr().err  # the kernel's own
