"""Every cell can be run again after those below it, and the guide's plans run, all in the smoke profile."""

import re

import nbformat
import numpy as np
import pytest

from molft_utils.files import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

#: Notebook -> from its names, what its own loop gave and what the helper gave.
BY_HAND = {
    "02_baseline": lambda names: (names["mine"], names["helper"]),
    "03_mlm": lambda names: (np.mean(names["losses"]["checkpoint"]), names["continued"].history["train_loss"].iloc[0]),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of results and figures that all notebooks share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOLFT_PROFILE", "smoke")
        patch.setenv("MOLFT_STAGES", str(tmp_path_factory.mktemp("stages")))
        patch.setenv("MOLFT_FIGURES", str(tmp_path_factory.mktemp("figures")))
        patch.chdir(ROOT / "notebooks")
        yield


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_can_be_run_again(path, places):
    namespace: dict = {"__name__": "__main__"}
    cells = nbformat.read(path, as_version=4).cells
    for turn in ("first", "second"):
        for i, cell in enumerate(cells):
            if cell.cell_type == "code":
                try:
                    exec(compile(cell.source, f"{path.name}, cell {i}", "exec"), namespace)
                except Exception as error:
                    raise AssertionError(f"{path.name}, cell {i}, {turn} time: {error!r}") from error
    if path.stem in BY_HAND:
        mine, helper = BY_HAND[path.stem](namespace)
        np.testing.assert_allclose(mine, helper, rtol=1e-3, err_msg="the loop in the notebook is not the helper's")


GUIDE = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")

#: A plan's minutes -> for each notebook that it names, the sections, in their order.
PLANS = {
    length: {number: re.findall(r"\*(.+?)\* \(", line) for number, line in re.findall(r"^- (\d\d): (.+)$", text, re.M)}
    for length, text in re.findall(r"^### (\d+) minutes: (.+?)(?=^##)", GUIDE, re.M | re.S)
}

STEPS = sorted({(number, tuple(headings)) for plan in PLANS.values() for number, headings in plan.items()})


def sections(path):
    """Heading -> the code under it, up to the next heading of any level."""
    found, heading = {}, ""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            found[heading].append(cell.source)
            continue
        for heading in re.findall(r"^##+ (.+?)(?: \(\d+ min\))?$", cell.source, re.M):
            found[heading] = []
    return found


@pytest.mark.parametrize(("number", "headings"), STEPS)
def test_the_sections_of_a_plan_run_without_the_others(number, headings, places):
    code = sections(next(path for path in NOTEBOOKS if path.stem.startswith(number)))
    namespace: dict = {"__name__": "__main__"}
    for heading in ("Set-up", *headings):
        for source in code[heading]:
            exec(compile(source, f"{number}, {heading}", "exec"), namespace)


@pytest.mark.parametrize("length", PLANS)
def test_a_plan_leaves_five_minutes(length):
    plan = re.search(rf"^### {length} minutes(.+?)(?=^##)", GUIDE, re.M | re.S)[1]
    assert sum(map(int, re.findall(r"\((\d+)\)", plan))) <= int(length) - 5
