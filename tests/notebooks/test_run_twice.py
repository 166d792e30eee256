"""Every cell can be run again after those below it: each notebook runs twice in one namespace, in the smoke profile."""

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
