"""Studies of size on a tiny training that is really repeated: signs and units are those of the real changes."""

import dataclasses

import numpy as np
import pytest
import torch

import sizes
from molft_utils import settings
from molft_utils.evaluation import Bank
from molft_utils.experiments import pipeline
from molft_utils.influence import Recipe, Training
from sizes import MEAN_LOSS, SINGLE_LOSSES, PredictingDrops, Smoothness, trained, unrolled

CFG = settings("smoke", limit=40)
RECIPE = Recipe(epochs=1, batch_size=20, learning_rate=1e-3)


@pytest.fixture(scope="module", autouse=True)
def bank(tmp_path_factory):
    """Two of forty molecules are dropped, twelve times; the study reads this bank instead of the repository's."""
    parts, members = pipeline.tables(CFG), np.ones((13, 40), dtype=bool)
    for subset, row in enumerate(members[1:]):
        row[np.random.default_rng(subset).permutation(40)[:2]] = False
    training = Training(RECIPE, parts.train)
    ends = [trained(training, torch.tensor(row, dtype=torch.float32)) for row in members]

    def load_bank(queries, path):
        table = getattr(parts, queries)
        predictions = np.stack([training.predict(theta, table) for theta in ends])
        return Bank(members, predictions[:, None], table["label"].to_numpy())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "load_bank", load_bank)
        patch.setattr(sizes, "N_QUERIES", 3)
        patch.setattr(sizes, "SKETCH", 1024)
        patch.setenv("MOLFT_STAGES", str(tmp_path_factory.mktemp("stages")))
        yield


@pytest.mark.parametrize("losses, n_queries", [(MEAN_LOSS, 1), (SINGLE_LOSSES, 3)])
def test_unrolled_scores_predict_real_changes_in_rank_and_size(losses, n_queries):
    row = PredictingDrops("unrolled", losses, 0.05, RECIPE).row(CFG)
    assert row["n_queries"] == n_queries and row["n_subsets"] == 12
    assert row["pearson"] > 0.95 and row["spearman"] > 0.9 and 0.8 < row["slope"] < 1.3 and row["trainings"] > 1
    control = PredictingDrops("random", losses, 0.05, RECIPE).row(CFG)
    assert abs(control["pearson"]) < 0.7 and control["trainings"] == 0


def test_other_scores_have_their_own_rows():
    found = {name: PredictingDrops(name, SINGLE_LOSSES, 0.05, RECIPE).scores(CFG)[0] for name in sizes.BY_SIZE}
    assert all(values.shape == (3, 40) for values in found.values())
    means = {name: PredictingDrops(name, MEAN_LOSS, 0.05, RECIPE).scores(CFG)[0] for name in sizes.BY_SIZE}
    assert all(values.shape == (1, 40) for values in means.values())
    small, large = (np.abs(found[f"Gauss-Newton, damping {damping}"]).mean() for damping in (0.03, 0.001))
    assert large > small > 0
    assert np.array_equal(np.sort(found["random"], axis=1), np.sort(found["unrolled"], axis=1))


def test_chunks_of_queries_are_kept_and_make_no_difference(monkeypatch):
    parts = pipeline.tables(CFG)
    queries = [parts.test.iloc[[i]] for i in range(9)]
    found, seconds = unrolled(RECIPE, parts.train, queries)
    assert found.shape == (9, 40) and seconds > 0
    monkeypatch.setattr(sizes, "unrolled_scores", None)  # what is kept is not computed again
    assert np.array_equal(unrolled(RECIPE, parts.train, queries[:8])[0], found[:8])


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_smoothness_knows_the_sign_of_dropping_and_of_counting_double(weight):
    row = Smoothness(RECIPE, n_subsets=8, weight=weight).row(CFG)
    assert row["antisymmetry"] > 0.9 and 0.3 < row["rmse"] < 2 and row["batch_size"] == 20
    assert row["pearson"] > 0.9 and 0.7 < row["slope"] < 1.4 and row["n_subsets"] == 8
    assert "slope" not in dataclasses.replace(Smoothness(RECIPE, 0, 0.0)).row(CFG)


def test_recipes_name_the_kinds_that_run():
    """Rows of the kernel do not depend on the version of unrolled scores."""
    for run in sizes.drops():
        assert (sizes.UNROLLED in run.recipe.kinds) == (run.key["score"] in ("unrolled", "random"))
        assert run.recipe.training == Recipe()
