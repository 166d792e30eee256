"""The study of selection: every rule has its row, and no row is made twice."""

import numpy as np
import pandas as pd
import pytest

from molft_utils import settings
from molft_utils.evaluation import records
from molft_utils.experiments import doubtful, stages
from molft_utils.making import selection_study


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(selection_study, "settings", lambda profile, seed: settings("smoke", epochs=1, seed=seed))
    with stages.in_folder(tmp_path / "stages"):
        yield tmp_path / "selection.csv"


EVERY_RULE = {"keep all", "trusted only", *doubtful.RULES, selection_study.UNKNOWN_NUMBER, selection_study.FOLDS}


def test_a_pool_with_errors_has_a_row_for_every_rule(small, monkeypatch, capsys):
    monkeypatch.setattr(selection_study, "COSTLY_SHARES", (0.25,))
    selection_study.run_pool("natural logarithm", 0.25, 0)
    rows = pd.read_csv(small).set_index("rule")
    assert set(rows.index) == EVERY_RULE
    trained = rows["rmse"].notna()
    expected = {"keep all", "trusted only", *selection_study.TRAINED, selection_study.UNKNOWN_NUMBER}
    assert set(rows.index[trained]) == expected
    assert rows.loc["oracle", "auroc"] == 1 and rows.loc["oracle", "precision"] == 1
    assert rows.loc["keep all", "n_train"] == 48 and rows.loc["trusted only", "n_train"] == 16
    assert rows.loc["oracle", "n_train"] == 40 and rows.loc["oracle", "n_dropped"] == 8
    assert rows.loc["trusted only", "epochs"] == 3  # as many steps as the others
    assert np.isnan(rows.loc["keep all", "auroc"])
    costly = rows.loc[list(selection_study.COSTLY)]
    assert costly["auroc"].between(0, 1).all() and (costly["n_dropped"] == 8).all()
    capsys.readouterr()
    monkeypatch.setattr(selection_study, "_row", None)  # so that a second computation would fail
    selection_study.run_pool("natural logarithm", 0.25, 0)
    assert capsys.readouterr().out.count("on record") == len(rows)


@pytest.mark.parametrize(
    ("share", "seed", "left_out"),
    [(0.2, 0, set()), (0.2, 3, set(selection_study.COSTLY)), (0.25, 0, set(selection_study.COSTLY))],
)
def test_what_takes_long_is_judged_where_the_plan_says_so(small, monkeypatch, share, seed, left_out):
    monkeypatch.setattr(selection_study, "_row", lambda evidence, rule: {"rmse": 1.0})
    selection_study.run_pool("natural logarithm", share, seed)
    assert set(pd.read_csv(small)["rule"]) == EVERY_RULE - left_out


def test_a_pool_without_errors_has_nothing_to_drop(small):
    selection_study.run_pool("permuted", 0.0, 1)
    assert set(pd.read_csv(small)["rule"]) == {"keep all", "trusted only"}
