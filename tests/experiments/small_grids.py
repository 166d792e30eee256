"""A grid of a few molecules, and its numbers: the same code, a second per cell."""

import os

import pandas as pd

from molft_utils import settings
from molft_utils.experiments.grid import run_grid

SMALL = dict(
    limit=24, epochs=2, influence_depth=8, influence_batch_size=8, shapley_subset=12, shapley_chains=8,
    shapley_permutations=2,
)  # fmt: skip
NUMBERS = ["rmse", "validation_rmse", "n_train", "trained", "total", "epochs"]


def small_grid(folder, **options) -> pd.DataFrame:
    os.environ["MOLFT_STAGES"] = str(folder)  # children of a test see it, and the fixture below puts it back
    return run_grid(settings("smoke", **SMALL), **options)
