"""The site: its contents, and what it does to a notebook."""

from types import SimpleNamespace

import nbformat
import pytest

import conf

APP = SimpleNamespace(env=SimpleNamespace(doc2path=lambda page: next(conf.ROOT.glob(f"{page}.*"))))
NOTEBOOKS = sorted((conf.ROOT / "notebooks").glob("*.ipynb"))


def test_the_contents_have_every_page_of_the_repository():
    listed = {path for pages in conf.CONTENTS.values() for page in pages for path in conf.ROOT.glob(f"{page}.*")}
    assert {*NOTEBOOKS, *conf.ROOT.glob("data/**/README.md"), conf.ROOT / "notebooks" / "README.md"} <= listed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_set_up_cell_is_folded_and_only_the_badge_is_lost(path):
    before = path.read_text(encoding="utf-8")
    source = [before]
    conf.prepare(APP, f"notebooks/{path.stem}", source)
    old, new = (nbformat.reads(text, as_version=4).cells for text in (before, source[0]))
    badge, _, rest = old[0].source.partition("\n")
    assert badge.startswith("[![Open in Colab]") and new[0].source == rest
    assert [cell.source for cell in new[1:]] == [cell.source for cell in old[1:]]
    assert "hide-input" in next(cell for cell in new if cell.cell_type == "code").metadata.tags
