"""The sweep of learning rates: what is swept, and where the other seeds go."""

import pandas as pd
import pytest

from molft_utils import settings
from molft_utils.evaluation import records
from molft_utils.experiments import stages
from molft_utils.making import sweep_study
from molft_utils.making.sweep_study import SWEPT, Swept


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(sweep_study, "SWEPT", {"full": Swept("full", 1e-4), "all": Swept("lora-all", 3e-4, 2)})
    monkeypatch.setattr(sweep_study, "EPOCHS", (1,))
    monkeypatch.setattr(
        sweep_study, "settings", lambda profile, **changes: settings("smoke", **{**changes, "limit": 16, "epochs": 1})
    )
    with stages.in_folder(tmp_path / "stages"):
        yield tmp_path / "sweep.csv"


def test_every_method_has_six_rates():
    assert Swept("full", 1e-4).rates == [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
    assert all(len(swept.rates) == 6 for swept in SWEPT.values())


def test_the_rate_and_the_rank_reach_the_method():
    for name, swept in SWEPT.items():
        cfg = swept.settings(2e-3, 20, 1)
        assert cfg.of_method(swept.method).learning_rate == 2e-3, name
        assert cfg.epochs == 20 and cfg.seed == 1 and cfg.lora_alpha == 2 * cfg.lora_rank == 2 * swept.rank


def test_other_seeds_go_around_the_rate_that_is_best_on_validation(small, capsys):
    for rate, error in zip(SWEPT["full"].rates, (0.9, 0.8, 0.7, 0.6, 0.9, 1.0), strict=True):
        for epochs, sign in ((4, 1), (20, -1)):  # on the test split the order is the opposite
            row = {"validation_rmse": sign * error, "rmse": -sign * error}
            records.add("sweep", {"name": "full", "epochs": epochs, "rate": rate, "seed": 0}, row, {})
    key = {"name": "full", "epochs": 4, "rate": sweep_study.REPORTED_RATE, "seed": 0}
    records.add("sweep", key, {"validation_rmse": 0.1, "rmse": 0.1}, {})  # is not among those that are swept
    assert sweep_study.around_best("full", 4) == [1e-3, 3e-3, 1e-2]
    assert sweep_study.around_best("full", 20) == [1e-2, 3e-2]  # at the edge there is one neighbour


def test_the_sweep_runs_once(small, capsys, monkeypatch):
    sweep_study.run_sweep(1)
    rows = pd.read_csv(small)
    assert (rows[rows["seed"] == 0].groupby("name")["rate"].nunique() == 7).all()
    assert (rows["rate"] == sweep_study.REPORTED_RATE).sum() == 2, "the report's rate, once for each method"
    assert set(rows[rows["seed"] > 0].groupby(["name", "seed"])["rate"].nunique()) <= {2, 3}
    assert rows.groupby("name")["trained"].nunique().eq(1).all()
    capsys.readouterr()
    monkeypatch.setattr(sweep_study, "graded", None)  # so that a second computation would fail
    sweep_study.run_sweep(1)
    assert capsys.readouterr().out.count("on record") == len(rows)
