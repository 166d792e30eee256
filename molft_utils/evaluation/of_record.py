"""What is on record, summed up over seeds, with intervals; the rows are :mod:`molft_utils.evaluation.records`."""

import re

import pandas as pd
import scipy.stats

from ..errors import DataError
from ..profiles import EVERY_METHOD
from . import records
from .intervals import Difference, mean_rmse, paired_difference
from .pool import mean_gap
from .report import report_table3


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
        records.read(table)
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
    """The grid's results of record, one row per cell; selections and methods in the report's order, then the others.

    Returns
    -------
    DataFrame
        ``selection``, ``method``, the mean ``rmse`` over seeds in logD, and its 95 % interval over test molecules and
        seeds, ``rmse_low`` to ``rmse_high``.

    Raises
    ------
    DataError
        If the table was never made.
    """
    rows = []
    names = sorted(set(records.read("grid")["variant"]), key=_place_in_report)
    labels, runs = _predictions("grid", *names)
    for name, cell_runs in zip(names, runs, strict=True):
        rmse, (low, high) = mean_rmse(labels, cell_runs.to_numpy().T)
        cell = dict(zip(("selection", "method"), name.split("/"), strict=True))
        rows.append({**cell, "rmse": rmse, "rmse_low": low, "rmse_high": high})
    return pd.DataFrame(rows)


def _place_in_report(name: str) -> tuple[int, int]:
    """Where a cell's selection and method stand in the report's table; those that it lacks come last."""
    report = report_table3()
    selection, method = name.split("/")
    selections, methods = list(report["selection"].unique()), list(EVERY_METHOD)
    return selections.index(selection) if selection in selections else len(selections), methods.index(method)


def record_sweep() -> pd.DataFrame:
    """The sweep of learning rates, on record: one row for each method, number of epochs and rate.

    Returns
    -------
    DataFrame
        ``name``, ``epochs``, ``rate``, ``trained`` parameters, number of ``seeds``, the means over seeds of
        ``validation`` and ``test`` RMSE in logD, and ``best``: the smallest of the rates that are level with the lowest
        validation error, that is within one standard error of it, among those with the most seeds (the one standard
        error rule; Hastie, Tibshirani and Friedman 2009, section 7.10). The method that trains most comes first.

    Raises
    ------
    DataError
        If the table was never made.
    """
    return _swept(records.read("sweep"))


def _swept(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows.groupby(["name", "epochs", "rate"], sort=False)
    validation, test, trained = ("validation_rmse", "mean"), ("rmse", "mean"), ("trained", "first")
    error = ("validation_rmse", "sem")
    table = groups.agg(
        trained=trained, seeds=("seed", "size"), validation=validation, error=error, test=test
    ).reset_index()
    table = table.sort_values(["trained", "epochs", "rate"], ascending=[False, True, True], ignore_index=True)
    best = [_best_of(one) for _, one in table.groupby(["name", "epochs"])]
    return table.assign(best=table.index.isin(best)).drop(columns="error")


def _best_of(rows: pd.DataFrame) -> int:
    """The index of the smallest rate that is level with the best, among those with the most seeds."""
    rows = rows[rows["seeds"] == rows["seeds"].max()]
    lowest = rows.loc[rows["validation"].idxmin()]
    level = rows[rows["validation"] <= lowest["validation"] + (0 if pd.isna(lowest["error"]) else lowest["error"])]
    return int(level["rate"].idxmin())


def best_rate(name: str, epochs: int) -> float:
    """The learning rate of the sweep with the smallest validation error (:func:`record_sweep`).

    Raises
    ------
    DataError
        If the sweep has no such method with so many epochs.
    """
    rows = records.read("sweep")
    rows = rows[(rows["name"] == name) & (rows["epochs"] == epochs)]
    if rows.empty:
        raise DataError(f"sweep.csv has no {name!r} with {epochs} epochs; `make results` makes it")
    table = _swept(rows)
    return float(table["rate"][table["best"]].iloc[0])


def record_labels(table: str = "labels") -> pd.DataFrame:
    """What labels are worth, on record: one row for each model and number of labels.

    Parameters
    ----------
    table : {"labels", "method_labels"}
        "method_labels" has fine-tuning methods in place of models.

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
    groups = records.read(table).groupby(["model", "labels"], sort=False)["rmse"]
    return _with_t_interval(groups.agg(seeds="size", mean="mean", sd="std").reset_index())


def record_labels_difference(labels: int, a: str, b: str, table: str = "labels") -> Difference:
    """Test RMSE of model a minus that of model b with so many labels (logD): the mean over seeds, 95 % t interval.

    A seed is paired with itself: both saw the same labelled molecules. ``table`` as in :func:`record_labels`.

    Raises
    ------
    DataError
        If fewer than two seeds have both models.
    """
    rows = records.read(table)
    return _paired_by_seed(rows[rows["labels"] == labels], "model", a, b, f"{labels:,} labels")


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
    groups = records.read("selection").groupby(["kind", "share", "rule"], sort=False)
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
    rows = records.read("selection")
    rows = rows[(rows["kind"] == kind) & (rows["share"] == share)]
    return _paired_by_seed(rows, "rule", a, b, f"{kind}, {share}")


def _paired_by_seed(rows: pd.DataFrame, column: str, a: str, b: str, where: str) -> Difference:
    both = rows.pivot(index="seed", columns=column, values="rmse").reindex(columns=[a, b]).dropna()
    if len(both) < 2:
        raise DataError(f"{a!r} and {b!r} have {len(both)} seeds in common for {where}; two are needed")
    return mean_gap(both[a] - both[b])


def _with_t_interval(table: pd.DataFrame) -> pd.DataFrame:
    """The columns ``low`` and ``high`` in place of ``sd``: a 95 % t interval over ``seeds`` around ``mean``."""
    reach = scipy.stats.t.ppf(0.975, table["seeds"] - 1) * table["sd"] / table["seeds"] ** 0.5
    return table.assign(low=table["mean"] - reach, high=table["mean"] + reach).drop(columns="sd")


def _predictions(table: str, *names: str) -> tuple[pd.Series, list[pd.DataFrame]]:
    """Test labels [n], and for each variant a frame of predictions [n, n_seeds], its seeds ascending."""
    wide = records.read(f"{table}_predictions")
    return wide["label"], [_runs(wide, table, name) for name in names]


def _runs(wide: pd.DataFrame, table: str, name: str) -> pd.DataFrame:
    """The predictions of one variant: a column per seed, named by the seed."""
    runs = wide.filter(regex=rf"^{re.escape(name)}/\d+$").rename(columns=lambda column: int(column.rpartition("/")[2]))
    if runs.empty:
        raise DataError(f"{table}_predictions.csv holds no run of {name!r}; `make results` makes it")
    return runs.sort_index(axis=1)
