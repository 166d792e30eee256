"""The figures in the README files are those of ``data/results``."""

import re
from functools import cache

import pandas as pd
import pytest

import pages
from molft_utils.evaluation import results
from molft_utils.files import ROOT


@pytest.fixture(scope="module", autouse=True)
def tables_are_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "load_results", cache(results.load_results))
        patch.setattr(results, "sweep", cache(results.sweep))
        yield


def test_figures_are_written_as_they_are_read(monkeypatch):
    rows = pd.DataFrame({"variant": ["a", "b"] * 2, "seed": [0, 0, 1, 1], "rmse": [0.71, 0.70, 0.730, 0.722]})
    rows = rows.assign(loss=[1.0, 2.0, 1.1, 2.3], n=[130, 110, 120, 110])
    monkeypatch.setattr(results, "load_results", lambda table: rows)
    for call, expected in (
        ("mean t a", "0.720 ± 0.014"),
        ("change t loss a b", "−1.100 [−2.371, +0.171]: no difference shown"),
        ("equal t a b margin=0.03", "+0.009 [−0.004, +0.022]: equal"),
        ("equal t a b margin=0.02", "+0.009 [−0.004, +0.022]: not shown to be equal"),
        ("over_seeds t n .0f less=100 variant=a", "25 (20 to 30)"),
        ("spread t a b", "0.009"),
    ):
        opening = f"<!-- figures: {call} -->"
        assert pages.rewritten(f"{opening}old<!-- end -->") == f"{opening}{expected}<!-- end -->"
    with pytest.raises(SystemExit, match="no row"):
        pages.rewritten("<!-- figures: mean t c -->old<!-- end -->")


@pytest.mark.parametrize("page", pages.PAGES, ids=[str(page.relative_to(ROOT)) for page in pages.PAGES])
def test_a_page_has_the_figures_of_the_tables(page):
    text = page.read_text(encoding="utf-8")
    wrong = re.sub(r"(<!-- figures: .+? -->).*?(<!-- end -->)", r"\1wrong\2", text, flags=re.DOTALL)
    assert wrong != text and pages.rewritten(wrong) == text


def test_an_error_has_an_interval_that_includes_it():
    for variant in ("best", "ridge on frozen mini"):  # five different seeds, and one five times
        rmse, low, high = (float(figure) for figure in re.findall(r"[\d.]+", pages.error("table1", variant)))
        assert low < rmse < high < low + 0.15 and pages.mean("table1", variant).startswith(f"{rmse:.3f} ")
