"""The figures in the README files are those of ``data/results``."""

import re
import runpy
import subprocess
import sys

import pytest

from molft_utils.files import ROOT

SCRIPT = ROOT / "data" / "scripts" / "pages.py"
PAGES = runpy.run_path(str(SCRIPT))["PAGES"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The script's text of each page, from copies in which every figure is wrong."""
    folder = tmp_path_factory.mktemp("pages")
    copies = [folder / str(number) for number in range(len(PAGES))]
    for page, copy in zip(PAGES, copies, strict=True):
        wrong = re.sub(r"(<!-- figures: .+? -->).*?(<!-- end -->)", r"\1wrong\2", page.read_text(), flags=re.DOTALL)
        copy.write_text(wrong)
    subprocess.run([sys.executable, SCRIPT, *copies], cwd=ROOT, check=True)
    return [copy.read_text() for copy in copies]


@pytest.mark.parametrize("number, page", enumerate(PAGES), ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_a_page_has_the_figures_of_the_tables(written, number, page):
    assert "<!-- figures: " in page.read_text()
    assert written[number] == page.read_text()
