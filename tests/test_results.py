"""Results of record: complete, quoted as they stand, safe for two writers."""

import multiprocessing

import numpy as np
import pandas as pd
import pytest

from molft_utils import DataError, results
from molft_utils.data import DATA_FOLDER
from molft_utils.evaluate import scores
from molft_utils.pages import ROOT

TABLE = pd.DataFrame({"smiles": ["C", "CC", "CCC"], "label": [0.0, 1.0, 2.0]})


def test_recorded_errors_follow_from_the_recorded_predictions():
    rows = pd.read_csv(DATA_FOLDER / "results" / "table1.csv")
    predictions = pd.read_csv(DATA_FOLDER / "results" / "table1_predictions.csv")
    assert len(predictions) == 840
    for row in rows.itertuples():
        found = scores(predictions["label"], predictions[f"{row.variant}/{row.seed}"])
        assert found.rmse == pytest.approx(row.rmse, abs=1e-3)


def test_every_variant_has_three_seeds():
    rows = pd.read_csv(DATA_FOLDER / "results" / "table1.csv")
    assert {"baseline", "after-mlm"} <= set(rows["variant"])
    assert (rows.groupby("variant")["seed"].agg(sorted).map(tuple) == (0, 1, 2)).all()


def test_readme_and_card_quote_the_record():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for variant, row in results.record("table1").iterrows():
        assert f"{row['mean']:.3f} ± {row['sd']:.3f}" in readme, variant


def add(variant: str) -> None:
    for seed in range(5):
        results._add("t", {"variant": variant, "seed": seed, "rmse": 1.0}, np.arange(3.0), TABLE)


def test_two_writers_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=add, args=(name,)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(pd.read_csv(tmp_path / "t.csv")) == 10
    assert pd.read_csv(tmp_path / "t_predictions.csv").shape == (3, 12)


def test_a_row_is_replaced_and_not_doubled(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    for rmse in (1.0, 2.0):
        results._add("t", {"variant": "a", "seed": 0, "rmse": rmse}, np.arange(3.0), TABLE)
    assert pd.read_csv(tmp_path / "t.csv")["rmse"].tolist() == [2.0]


def test_a_missing_table_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    with pytest.raises(DataError, match="make results"):
        results.record("table1")
