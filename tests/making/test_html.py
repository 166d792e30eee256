"""Pages that need no network."""

import re
from html import unescape

import nbformat
import pytest

from molft_utils.making import html
from molft_utils.making.html import alternative_texts, page, title, with_places
from molft_utils.making.pages import notebooks, setup_cell

NAMES = [path.stem for path in notebooks()]


@pytest.fixture(scope="module")
def pages():
    return {path.stem: page(nbformat.read(path, as_version=4), path.stem, NAMES) for path in notebooks()}


@pytest.mark.parametrize("name", NAMES)
def test_a_page_asks_nobody_for_anything_and_is_small(pages, name):
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="https?:', pages[name])
    assert "mathjax" not in pages[name].lower() and "@import" not in pages[name]
    assert len(pages[name].encode()) < 3_000_000


@pytest.mark.parametrize("name", NAMES)
def test_no_formula_is_left_as_dollars(pages, name):
    prose = re.sub(
        r"<pre.*?</pre>|<code.*?</code>|<script.*?</script>|<style.*?</style>", "", pages[name], flags=re.DOTALL
    )
    assert not re.search(r"\$[^$<]*\\[a-z]+[^$<]*\$", prose)


def test_formulas_become_mathml_and_code_stays():
    formulas = []
    text = with_places("Let $x_1 * y$ be `$HOME`:\n\n$$\\frac{a}{b}$$\n\n```\n$5 and $6\n```", formulas)
    assert (
        len(formulas) == 2 and "<msub>" in formulas[0] and 'display="block"' in formulas[1] and "<mfrac>" in formulas[1]
    )
    assert "`$HOME`" in text and "$5 and $6" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_formula_of_a_notebook_is_whole_on_its_page(pages, name):
    notebook = nbformat.read(next(path for path in notebooks() if path.stem == name), as_version=4)
    formulas = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            with_places(cell.source, formulas)
    assert formulas and all(formula in pages[name] for formula in formulas)
    assert "FORMULAxPLACE" not in pages[name]


def test_a_page_leads_to_its_neighbours_and_hides_the_plumbing(pages):
    middle = pages[NAMES[2]]
    assert middle.count(f'href="{NAMES[1]}.html"') == middle.count(f'href="{NAMES[3]}.html"') == 2
    assert "KEEP_IN_DRIVE" in setup_cell() and "KEEP_IN_DRIVE" not in middle  # one word: colours cut lines into tags
    assert "prefers-color-scheme: dark" in middle and "--jp-layout-color0" in middle.split("prefers-color-scheme")[1]


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_is_described(pages, name):
    notebook = nbformat.read(next(path for path in notebooks() if path.stem == name), as_version=4)
    described = [unescape(text) for text in re.findall(r'<img alt="([^"]*)"', pages[name])]
    assert described == alternative_texts(notebook) and described


def test_the_index_lists_all(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "PAGES_FOLDER", tmp_path)
    html.write_index({path.stem: title(nbformat.read(path, as_version=4)) for path in notebooks()})
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert [name for name in re.findall(r'href="(\w+)\.html"', text)] == NAMES
    assert "1 · The data, and how it is split" in text
