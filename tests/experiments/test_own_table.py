"""A table of the reader's own through the pipeline: a CSV with SMILES and a column to predict."""

import numpy as np
import pandas as pd
import pytest

from molft_utils import settings
from molft_utils.experiments import grid, pipeline, selection
from molft_utils.files import data_file


@pytest.fixture
def own(tmp_path):
    """Measured logP under names of the reader's own; a column with a usual name is in the way."""
    table = pd.read_csv(data_file("logp.csv")).head(60).rename(columns={"label": "Log P, measured"})
    path = tmp_path / "mine.csv"
    table[["smiles", "Log P, measured", "cas"]].assign(value=0.0).to_csv(path, index=False)
    return path


@pytest.fixture
def cfg(own):
    return settings("smoke", table=own, target="Log P, measured", epochs=1, shapley_subset=12, shapley_chains=12)


def test_the_notebooks_results_come_from_it(cfg, own, capsys):
    parts, labels = pipeline.tables(cfg), set(pd.read_csv(own)["Log P, measured"])
    assert sum(map(len, (parts.train, parts.validation, parts.test))) == 60 and set(parts.test["label"]) <= labels
    assert pipeline.mlm(cfg).costs["n_train"] == len(parts.train) + len(parts.validation)
    assert pipeline.baseline(cfg).costs["n_train"] == len(parts.train)
    assert set(pipeline.fingerprint_predictions(cfg)) >= {"SVR on ECFP4"}


def test_nothing_is_added_to_it_unless_a_secondary_set_is_given(cfg, own, capsys):
    table = grid.run_grid(cfg, ["none", "influence"], ["lora"])
    assert (table["n_train"] == len(pipeline.tables(cfg).train)).all()
    assert "no secondary set belongs to your table" in capsys.readouterr().out
    given = selection.secondary_table(cfg, data_file("secondary.csv"))
    assert len(given) == cfg.limit and "secondary molecules are also in your table" in capsys.readouterr().out


def test_replicate_measurements_run(cfg, own):
    table = pd.read_csv(own)
    pd.concat([table, table, table]).to_csv(own, index=False)
    with pytest.warns(match="same molecule"):
        parts = pipeline.tables(cfg.replace(limit=None))
    assert len(parts.train) + len(parts.validation) + len(parts.test) == 180
    assert np.isfinite(selection.shapley(cfg, parts.train.head(0))[0]).all()
