"""The figures in the README files are those of ``data/results``."""

import re
from functools import cache

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


@pytest.mark.parametrize("page", pages.PAGES, ids=[str(page.relative_to(ROOT)) for page in pages.PAGES])
def test_a_page_has_the_figures_of_the_tables(page):
    text = page.read_text(encoding="utf-8")
    wrong = re.sub(r"(<!-- figures: .+? -->).*?(<!-- end -->)", r"\1wrong\2", text, flags=re.DOTALL)
    assert wrong != text and pages.rewritten(wrong) == text
