"""CSV files of ``data/results``: one row per run, with everything that the run depended on in the column ``inputs``.

A run is identified by its *key*, for instance ``{"variant": "baseline", "seed": 0}``. Two processes may
write to one table.
"""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import scipy.stats
from filelock import FileLock

from ..errors import DataError
from ..files import DATA_FOLDER, write_atomically
from ..inputs import changes
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


def is_recorded(table: str, key: dict[str, Any], inputs: dict[str, Any], column: str | None = None) -> bool:
    """Whether a run is on record with the same inputs; if it was recorded with others, say what changed.

    Parameters
    ----------
    table
        The table's name, without ``.csv``.
    key, inputs
        What identifies the run, and what it depends on, as JSON.
    column
        The run's column of ``<table>_predictions.csv``, which must then exist as well.
    """
    rows = _rows(table, key, with_key=True)
    if rows.empty:
        return False
    name, changed = _name(table, key), changes(json.loads(rows["inputs"].iloc[0]), json.loads(json.dumps(inputs)))
    lost = column is not None and column not in _columns(RESULTS / f"{table}_predictions.csv")
    if changed:
        print(f"{name}: changed since it was recorded, so it is run again: {'; '.join(changed)}", flush=True)
    elif lost:
        print(f"{name}: its predictions are lost; running it again", flush=True)
    else:
        print(f"{name}: on record", flush=True)
    return not changed and not lost


def add(
    table: str,
    key: dict[str, Any],
    row: dict[str, Any],
    inputs: dict[str, Any],
    predictions: pd.DataFrame | None = None,
) -> None:
    """Write a run's row in place of an earlier one with the same key.

    Parameters
    ----------
    table
        The table's name, without ``.csv``.
    key, row, inputs
        What identifies the run, what it found, and what it depended on, as JSON.
    predictions
        The test molecules (``smiles``, ``label``) and in a third column what the run predicted. It goes to
        ``<table>_predictions.csv``.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    row = {**key, **row, "inputs": json.dumps(inputs, sort_keys=True)}
    with FileLock(RESULTS / f".{table}.lock"):
        if predictions is not None:  # first, so that no row is without its predictions
            _add_predictions(RESULTS / f"{table}_predictions.csv", predictions)
        rows = pd.DataFrame([*_rows(table, key, with_key=False).to_dict("records"), row]).sort_values(list(key))
        write_atomically(RESULTS / f"{table}.csv", rows.to_csv(index=False, float_format="%.4f"))
    print(f"{_name(table, key)}: done", flush=True)


def _add_predictions(path: Path, predictions: pd.DataFrame) -> None:
    """Write a run's predictions as a column of the table's file, beside those of the other runs."""
    molecules = predictions.iloc[:, :2].reset_index(drop=True)
    wide = pd.read_csv(path) if path.exists() else molecules
    if wide.iloc[:, :2].to_numpy().tolist() != molecules.to_numpy().tolist():
        print(f"{path.name}: the test molecules or labels have changed; its other columns are dropped")
        wide = molecules
    wide = wide.assign(**{predictions.columns[2]: predictions.iloc[:, 2].to_numpy().round(4)})
    write_atomically(path, wide.to_csv(index=False))


def _columns(path: Path) -> list[str]:
    return list(pd.read_csv(path, nrows=0)) if path.exists() else []


def _rows(table: str, key: dict[str, Any], with_key: bool) -> pd.DataFrame:
    """The rows with this key, or all the others; none where the table does not exist yet."""
    if not (RESULTS / f"{table}.csv").exists():
        return pd.DataFrame()
    rows = read(table)
    same = (rows[list(key)] == list(key.values())).all(axis=1)
    return rows[same if with_key else ~same]


def _name(table: str, key: dict[str, Any]) -> str:
    return ", ".join([table, *(f"{name} {value}" for name, value in key.items())])


def record(table: str) -> pd.DataFrame:
    """Results of record, one row per variant.

    Returns
    -------
    DataFrame
        By variant: ``description``, number of ``seeds``, ``mean`` and standard deviation (``sd``) of the test RMSE over
        seeds in logD, and mean ``seconds``.

    Raises
    ------
    DataError
        If the table was never made.
    """
    summary = (
        read(table)
        .groupby(["variant", "description"], sort=False)
        .agg(seeds=("seed", "size"), mean=("rmse", "mean"), sd=("rmse", "std"), seconds=("seconds", "mean"))
    )
    return summary.reset_index().set_index("variant").round({"mean": 3, "sd": 3, "seconds": 0})


def record_difference(table: str, a: str, b: str, level: float = 0.95) -> Difference:
    """Paired difference of two variants of a table, over test molecules and seeds; a seed is paired with itself.

    ``level`` as in :func:`~molft_utils.evaluation.paired_difference`.

    Raises
    ------
    DataError
        If a variant is not on record, or the two have different seeds.
    """
    labels, (runs_a, runs_b) = _predictions(table, a, b)
    if list(runs_a) != list(runs_b):
        raise DataError(f"{a} has the seeds {list(runs_a)} and {b} {list(runs_b)}; `make results` makes the others")
    return paired_difference(labels, runs_a.to_numpy().T, runs_b.to_numpy().T, level=level)


def record_cells() -> pd.DataFrame:
    """The grid's results of record, one row per cell.

    Returns
    -------
    DataFrame
        ``selection``, ``method``, the mean ``rmse`` over seeds in logD, and its 95 % interval over test molecules and
        seeds, ``rmse_low`` to ``rmse_high``.

    Raises
    ------
    DataError
        If a cell is not on record.
    """
    rows = []
    names = [f"{cell.selection}/{cell.method}" for cell in report_table3().itertuples()]
    labels, runs = _predictions("grid", *names)
    for name, cell_runs in zip(names, runs, strict=True):
        rmse, (low, high) = mean_rmse(labels, cell_runs.to_numpy().T)
        cell = dict(zip(("selection", "method"), name.split("/"), strict=True))
        rows.append({**cell, "rmse": rmse, "rmse_low": low, "rmse_high": high})
    return pd.DataFrame(rows)


def record_labels() -> pd.DataFrame:
    """What labels are worth, on record: one row for each model and number of labels.

    Returns
    -------
    DataFrame
        ``model``, ``labels``, number of ``seeds``, the ``mean`` test RMSE over seeds in logD, and its 95 % t interval
        over seeds, ``low`` to ``high``. The seeds draw the labelled molecules, too.

    Raises
    ------
    DataError
        If the table was never made.
    """
    groups = read("labels").groupby(["model", "labels"], sort=False)["rmse"]
    table = groups.agg(seeds="size", mean="mean", sd="std").reset_index()
    return _with_t_interval(table)


def record_selection() -> pd.DataFrame:
    """When selection pays, on record: one row for each kind of error, share of wrong labels, and rule.

    Returns
    -------
    DataFrame
        ``kind``, ``share``, ``rule``, number of ``seeds``, the ``mean`` test RMSE over seeds in logD (nan where no
        model was trained), its 95 % t interval ``low`` to ``high``, and the means of ``auroc`` and ``precision``. The
        seeds draw the trusted molecules and the errors, too.

    Raises
    ------
    DataError
        If the table was never made.
    """
    groups = read("selection").groupby(["kind", "share", "rule"], sort=False)
    table = groups.agg(
        seeds=("seed", "size"), mean=("rmse", "mean"), sd=("rmse", "std"), auroc=("auroc", "mean"),
        precision=("precision", "mean"),
    ).reset_index()  # fmt: skip
    return _with_t_interval(table)


def record_selection_difference(kind: str, share: float, a: str, b: str) -> Difference:
    """Test RMSE after rule a minus after rule b (logD): the mean over seeds, with its 95 % t interval.

    A seed is paired with itself: both rules saw the same pool.

    Raises
    ------
    DataError
        If fewer than two seeds have both rules.
    """
    rows = read("selection")
    rows = rows[(rows["kind"] == kind) & (rows["share"] == share)].pivot(index="seed", columns="rule", values="rmse")
    both = rows.reindex(columns=[a, b]).dropna()
    gaps = both[a] - both[b]
    if len(gaps) < 2:
        raise DataError(f"{a!r} and {b!r} have {len(gaps)} seeds in common for {kind}, {share}; two are needed")
    low, high = scipy.stats.t.interval(0.95, len(gaps) - 1, gaps.mean(), scipy.stats.sem(gaps))
    return Difference(float(gaps.mean()), (float(low), float(high)))


def _with_t_interval(table: pd.DataFrame) -> pd.DataFrame:
    """The columns ``low`` and ``high`` in place of ``sd``: a 95 % t interval over ``seeds`` around ``mean``."""
    reach = scipy.stats.t.ppf(0.975, table["seeds"] - 1) * table["sd"] / table["seeds"] ** 0.5
    return table.assign(low=table["mean"] - reach, high=table["mean"] + reach).drop(columns="sd")


def _predictions(table: str, *names: str) -> tuple[pd.Series, list[pd.DataFrame]]:
    """Test labels [n], and for each variant a frame of predictions [n, n_seeds], its seeds ascending."""
    wide = read(f"{table}_predictions")
    return wide["label"], [_runs(wide, table, name) for name in names]


def _runs(wide: pd.DataFrame, table: str, name: str) -> pd.DataFrame:
    """The predictions of one variant: a column per seed, named by the seed."""
    runs = wide.filter(regex=rf"^{re.escape(name)}/\d+$").rename(columns=lambda column: int(column.rpartition("/")[2]))
    if runs.empty:
        raise DataError(f"{table}_predictions.csv holds no run of {name!r}; `make results` makes it")
    return runs.sort_index(axis=1)
