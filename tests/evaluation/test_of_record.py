"""What is on record, summed up."""

import pandas as pd
import pytest

from molft_utils import DataError
from molft_utils.evaluation import best_rate, record_cells, record_sweep, records

#: Rate -> validation errors by seed. The single run at 1e-4 is lucky; the test errors are the negative ones.
SWEEP = {
    1e-4: [0.70],
    3e-4: [0.74, 0.80, 0.79],
    1e-3: [0.75, 0.76, 0.74],
    3e-3: [0.70, 0.75, 0.77],  # the lowest mean, and its standard error reaches 1e-3
    1e-2: [0.80, 0.85, 0.90],
}


@pytest.fixture(autouse=True)
def sweep(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    for name, trained in (("small", 10), ("large", 100)):
        for rate, errors in SWEEP.items():
            for seed, error in enumerate(errors):
                row = {"validation_rmse": error, "rmse": -error, "trained": trained}
                records.add("sweep", {"name": name, "epochs": 4, "rate": rate, "seed": seed}, row, {})


def test_the_best_rate_is_that_of_validation_where_several_seeds_ran():
    table = record_sweep()
    assert list(dict.fromkeys(table["name"])) == ["large", "small"], "what trains most comes first"
    assert table.groupby("name")["best"].sum().eq(1).all()
    assert best_rate("small", 4) == 1e-3
    assert table.loc[table["best"], "validation"].iloc[0] == pytest.approx(0.75)


def test_cells_come_in_the_reports_order(tmp_path):
    molecules = pd.DataFrame({"smiles": ["C", "CC", "CCC"], "label": [0.0, 1.0, 2.0]})
    for name in ("oracle/full", "influence/lora", "none/lora-all", "none/full", "ts-dshapley/bitfit"):
        for seed in (0, 1):
            column = {f"{name}/{seed}": [0.1 * seed, 1.2, 1.9]}
            records.add("grid", {"variant": name, "seed": seed}, {"rmse": 0.1}, {}, molecules.assign(**column))
    cells = record_cells()
    names = [f"{cell.selection}/{cell.method}" for cell in cells.itertuples()]
    assert names == ["none/full", "none/lora-all", "influence/lora", "ts-dshapley/bitfit", "oracle/full"]
    assert (cells["rmse_low"] < cells["rmse"]).all() and (cells["rmse"] < cells["rmse_high"]).all()


def test_a_rate_that_was_not_swept_is_asked_for():
    with pytest.raises(DataError, match="has no 'small' with 20 epochs; `make results`"):
        best_rate("small", 20)


def test_small_rates_stay_apart_on_disk():
    records.add("sweep", {"name": "small", "epochs": 4, "rate": 1e-7, "seed": 0}, {"rmse": 1.2}, {})
    assert not records.is_recorded("sweep", {"name": "small", "epochs": 4, "rate": 2e-7, "seed": 0}, {})
    assert records.is_recorded("sweep", {"name": "small", "epochs": 4, "rate": 1e-7, "seed": 0}, {})
