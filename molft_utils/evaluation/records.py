"""CSV files of ``data/results``: a row a run, with everything that the run depended on in the column ``inputs``.

A run is told from the others by its *key*, for instance ``{"variant": "baseline", "seed": 0}``. Two processes may
write to one table.
"""

import json
import re
from pathlib import Path

import pandas as pd
from filelock import FileLock

from ..errors import DataError
from ..files import DATA_FOLDER, write_atomically
from .intervals import Difference, mean_rmse, paired_difference
from .report import report_table3

RESULTS = DATA_FOLDER / "results"


def read(table: str) -> pd.DataFrame:
    """All rows of a table.

    Raises
    ------
    DataError
        If the table was never made.
    """
    path = RESULTS / f"{table}.csv"
    if not path.exists():
        raise DataError(f"{path.name} is not in data/results; `make results` makes it")
    return pd.read_csv(path)


def is_recorded(table: str, key: dict, inputs: dict, column: str | None = None) -> bool:
    """Whether the run's row is there with the same inputs, and its predictions (``column``) too; if not, say why."""
    rows = _without(table, key, others=False)
    if rows.empty:
        return False
    known, name = json.loads(rows["inputs"].iloc[0]), _name(table, key)
    changed = sorted(field for field in {*known, *inputs} if known.get(field) != inputs.get(field))
    lost = column is not None and column not in _columns(RESULTS / f"{table}_predictions.csv")
    if changed:
        print(f"{name}: {', '.join(changed)} changed since it was recorded; running it again", flush=True)
    elif lost:
        print(f"{name}: its predictions are lost; running it again", flush=True)
    else:
        print(f"{name}: on record", flush=True)
    return not changed and not lost


def add(table: str, key: dict, row: dict, inputs: dict, predictions: pd.DataFrame | None = None) -> None:
    """Write a run's row in place of an earlier one of the same key.

    ``predictions`` holds the test molecules (``smiles``, ``label``) and in a third column what the run predicted; it
    goes to ``<table>_predictions.csv``.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    row = {**key, **row, "inputs": json.dumps(inputs, sort_keys=True)}
    with FileLock(RESULTS / f".{table}.lock"):
        if predictions is not None:  # first, so that no row is without its predictions
            path = RESULTS / f"{table}_predictions.csv"
            molecules = predictions.iloc[:, :2].reset_index(drop=True)
            wide = pd.read_csv(path) if path.exists() else molecules
            if wide.iloc[:, :2].to_numpy().tolist() != molecules.to_numpy().tolist():
                print(f"{path.name}: the test molecules or labels have changed; its other columns are dropped")
                wide = molecules
            wide = wide.assign(**{predictions.columns[2]: predictions.iloc[:, 2].to_numpy().round(4)})
            write_atomically(path, wide.to_csv(index=False))
        rows = pd.DataFrame([*_without(table, key).to_dict("records"), row]).sort_values(list(key))
        write_atomically(RESULTS / f"{table}.csv", rows.to_csv(index=False, float_format="%.4f"))
    print(f"{_name(table, key)}: done", flush=True)


def _columns(path: Path) -> list[str]:
    return list(pd.read_csv(path, nrows=0)) if path.exists() else []


def _without(table: str, key: dict, others: bool = True) -> pd.DataFrame:
    """The rows with another key, or those with this one."""
    if not (RESULTS / f"{table}.csv").exists():
        return pd.DataFrame()
    rows = read(table)
    same = (rows[list(key)] == list(key.values())).all(axis=1)
    return rows[~same if others else same]


def _name(table: str, key: dict) -> str:
    return ", ".join([table, *(f"{name} {value}" for name, value in key.items())])


def record(table: str) -> pd.DataFrame:
    """Results of record, a row a variant: mean and standard deviation of the test RMSE over seeds, mean seconds."""
    summary = (
        read(table)
        .groupby(["variant", "description"], sort=False)
        .agg(seeds=("seed", "size"), mean=("rmse", "mean"), sd=("rmse", "std"), seconds=("seconds", "mean"))
    )
    return summary.reset_index().set_index("variant").round({"mean": 3, "sd": 3, "seconds": 0})


def record_difference(table: str, a: str, b: str, level: float = 0.95) -> Difference:
    """Paired difference of two variants of a table, over test molecules and seeds; a seed is paired with itself."""
    labels, (first, second) = _predictions(table, a, b)
    if list(first) != list(second):
        raise DataError(f"{a} has the seeds {list(first)} and {b} {list(second)}; `make results` makes what lacks")
    return paired_difference(labels, first.to_numpy().T, second.to_numpy().T, level=level)


def record_cells() -> pd.DataFrame:
    """The grid's results of record, a row a cell: ``selection``, ``method``, and the mean ``rmse`` over seeds with its
    95 % interval over test molecules and seeds, ``rmse_low`` to ``rmse_high``."""
    rows = []
    names = [f"{cell.selection}/{cell.method}" for cell in report_table3().itertuples()]
    labels, runs = _predictions("grid", *names)
    for name, cell_runs in zip(names, runs, strict=True):
        rmse, (low, high) = mean_rmse(labels, cell_runs.to_numpy().T)
        cell = dict(zip(("selection", "method"), name.split("/"), strict=True))
        rows.append({**cell, "rmse": rmse, "rmse_low": low, "rmse_high": high})
    return pd.DataFrame(rows)


def _predictions(table: str, *names: str) -> tuple[pd.Series, list[pd.DataFrame]]:
    """Test labels [n], and each variant's predictions by seed, ascending: frames [n, n_seeds]."""
    wide = read(f"{table}_predictions")
    return wide["label"], [_runs(wide, table, name) for name in names]


def _runs(wide: pd.DataFrame, table: str, name: str) -> pd.DataFrame:
    runs = wide.filter(regex=rf"^{re.escape(name)}/\d+$").rename(columns=lambda column: int(column.rpartition("/")[2]))
    if runs.empty:
        raise DataError(f"{table}_predictions.csv holds no run of {name!r}; `make results` makes it")
    return runs.sort_index(axis=1)
