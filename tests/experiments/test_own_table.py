"""A table of one's own through the pipeline: a CSV with SMILES and a column to be predicted."""

import pandas as pd
import pytest

from molft_utils import DataError, load_table, settings
from molft_utils.experiments import grid, inputs_of, pipeline, stages
from molft_utils.files import data_file


@pytest.fixture
def own(tmp_path):
    """Measured logP as a file of one's own, under names of one's own; a column with a usual name is in the way."""
    table = pd.read_csv(data_file("logp.csv")).head(60)
    path = tmp_path / "mine.csv"
    table.rename(columns={"label": "Log P, measured"})[["smiles", "Log P, measured", "cas"]].assign(value=0.0).to_csv(
        path, index=False
    )
    return path


def test_a_target_is_named_and_another_label_is_out_of_its_way(own):
    table = load_table(own, "Log P, measured")
    assert list(table) == ["smiles", "label", "cas", "other value"]
    assert (table["label"] == pd.read_csv(own)["Log P, measured"]).all()
    with pytest.raises(DataError, match=r"mine\.csv has no column 'logS'; it has smiles, Log P, measured, cas, value"):
        load_table(own, "logS")
    assert load_table(own)["label"].eq(0).all()  # without a name, the usual ones are looked for


def test_the_notebooks_stages_run_on_it(own, tmp_path):
    cfg = settings("smoke", table=own, target="Log P, measured", epochs=1, shapley_subset=12, shapley_chains=8)
    parts = pipeline.tables(cfg)
    labels = set(pd.read_csv(own)["Log P, measured"])
    assert sum(map(len, (parts.train, parts.validation, parts.test))) == 60 and set(parts.test["label"]) <= labels
    with stages.in_folder(tmp_path / "stages"):
        assert pipeline.mlm(cfg).n_train == len(parts.train) + len(parts.validation)
        assert pipeline.baseline(cfg).n_train == len(parts.train)
        assert set(pipeline.fingerprint_predictions(cfg)) >= {"SVR on ECFP4"}
        table = grid.run_grid(cfg, ["none"], ["full", "lora"])
    assert (table["n_train"] == len(parts.train) + 48).all()  # the secondary set of the smoke profile has 48


def test_what_it_holds_is_an_input_and_where_it_lies_is_none(own, tmp_path):
    copy = tmp_path / "elsewhere.csv"
    copy.write_text(own.read_text())
    here, there = (inputs_of(settings("class", table=p, target="value"), pipeline.REGRESSION) for p in (own, copy))
    assert here == there
    own.write_text(own.read_text().replace("0.0\n", "1.0\n", 1))
    assert inputs_of(settings("class", table=own, target="value"), pipeline.REGRESSION) != there
    plain = inputs_of(settings("class"), pipeline.REGRESSION)["data"]
    assert "table" not in plain and "target" not in plain, "results that were made before stay valid"
