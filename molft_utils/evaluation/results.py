"""Reported results: the tables of ``data/results`` summed up with intervals, the report's own, a class's submissions.

A table has a row for each run: key columns (for instance ``variant`` and ``seed``), figures such as the test ``rmse``
in logD, and where they come from (such as ``commit``). ``<table>_predictions.csv``, where there is one,
has the test molecules, their labels, and a column ``<variant>/<seed>`` of predictions for each run.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from ..errors import DataError
from ..files import DATA_FOLDER, write_atomically
from .metrics import Difference, paired_difference

RESULTS = DATA_FOLDER / "results"

#: The columns that say what was compared; each table has one of them.
_COMPARED = ("variant", "model", "rule", "cell", "name")

#: Columns that may consist of digits and are no numbers.
_TEXT = {"commit": str, "settings": str, "date": str, "version": str}


def load_results(table: str) -> pd.DataFrame:
    """All rows of ``data/results/<table>.csv``."""
    path = RESULTS / f"{table}.csv"
    if not path.exists():
        found = ", ".join(sorted(other.stem for other in RESULTS.glob("*.csv")))
        raise DataError(f"data/results has no {path.name}; `make results` makes it. There are: {found or 'none'}")
    return pd.read_csv(path, dtype=_TEXT)


def summary(table: str, by: Sequence[str] | None = None) -> pd.DataFrame:
    """Results of a table, for instance "table1", summed up over seeds.

    The rows of the summary are variants, its index; or they are named by the columns ``by``, for instance
    ``["model", "labels"]``, which then stand first. Its columns: ``description`` where the table has some, number of
    ``seeds``, ``mean`` and standard deviation (``sd``) of the test RMSE over seeds in logD, the mean's 95 % t interval
    ``low`` to ``high``, and the means of all other numbers.
    """
    rows = load_results(table)
    keys = ["variant"] if by is None else list(by)
    groups = rows.groupby(keys, sort=False)
    found = groups["rmse"].agg(seeds="size", mean="mean", sd="std")
    half_width = scipy.stats.t.ppf(0.975, found["seeds"] - 1) * found["sd"] / found["seeds"] ** 0.5
    found = found.assign(low=found["mean"] - half_width, high=found["mean"] + half_width)
    others = rows.select_dtypes("number").columns.difference([*keys, "seed", "rmse"], sort=False)
    found = found.join(groups[list(others)].mean())
    if "description" in rows and "description" not in keys:
        described = groups["description"].first()
        found.insert(0, "description", described.fillna(described.index.to_series().astype(str)))
    return found if by is None else found.reset_index()


def difference(table: str, a: str, b: str, level: float = 0.95, **where: Any) -> Difference:
    """Test RMSE of a minus that of b (logD), over the seeds that both have; a seed is paired with itself.

    Paired over test molecules and seeds where the table has predictions
    (:func:`~molft_utils.evaluation.paired_difference`); else the mean over seeds with its t interval.

    Parameters
    ----------
    a, b
        Two variants, models, rules or cells of the table.
    level
        Coverage of the interval, as in :func:`~molft_utils.evaluation.paired_difference`.
    **where
        Which rows to compare where there are several for each seed: ``labels=300``, or ``kind="permuted", share=0.2``.
    """
    rows = load_results(table)
    if unknown := [column for column in where if column not in rows]:
        raise DataError(f"{table}.csv has no column {unknown[0]!r}; it has {', '.join(rows)}")
    compared = next(column for column in _COMPARED if column in rows)
    for column, value in where.items():
        rows = rows[rows[column] == value]
    rows = rows[rows[compared].isin([a, b])]
    if rows.duplicated([compared, "seed"]).any():
        raise DataError(f"{table}.csv has several rows of {a!r} or {b!r} with one seed; name a column, as labels=300")
    gaps = paired_gaps(rows, a, b, compared)
    if gaps.empty:
        known = ", ".join(map(str, load_results(table)[compared].unique()))
        raise DataError(f"{table}.csv has no seed with both {a!r} and {b!r} {where or ''}; it has {known}")
    if not (RESULTS / f"{table}_predictions.csv").exists():
        return mean_gap(gaps, level)
    predictions = load_results(f"{table}_predictions")
    runs_a, runs_b = (_runs(predictions, variant, gaps.index) for variant in (a, b))
    return paired_difference(predictions["label"], runs_a, runs_b, level=level)


def _runs(predictions: pd.DataFrame, variant: str, seeds: Iterable[int]) -> np.ndarray:
    """Predictions of a variant [n_seeds, n]."""
    return predictions[[f"{variant}/{seed}" for seed in sorted(seeds)]].to_numpy().T


def sweep(standard_errors: float = 1) -> pd.DataFrame:
    """The reported sweep of learning rates: one row for each method, number of epochs and rate.

    ``name``, ``epochs``, ``rate``, ``trained`` parameters, number of ``seeds``, the means over seeds of ``validation``
    and ``test`` RMSE in logD, and whether this rate is ``best``. The method that trains most comes first.

    Best is the smallest rate whose validation error is within one standard error of the lowest (the one standard error
    rule; Hastie, Tibshirani and Friedman 2009, section 7.10), among rates with the most seeds. Until 2026-11-25 it was
    the rate with the lowest validation error, which ``standard_errors=0`` gives. The rule was changed after the first
    table of this sweep, test errors included, had been seen. Two of fourteen best rates differ: full fine-tuning and
    ``lora-all, r = 64``, both after four epochs (0.003 by the earlier rule, 0.001 by this one).
    """
    table = load_results("sweep").groupby(["name", "epochs", "rate"], sort=False).agg(
        trained=("trained", "first"), seeds=("seed", "size"), validation=("validation_rmse", "mean"),
        error=("validation_rmse", "sem"), test=("rmse", "mean"),
    ).reset_index()  # fmt: skip
    table = table.sort_values(["trained", "epochs", "rate"], ascending=[False, True, True], ignore_index=True)
    best = [_best_rate(rates, standard_errors) for _, rates in table.groupby(["name", "epochs"])]
    return table.assign(best=table.index.isin(best)).drop(columns="error")


def _best_rate(rates: pd.DataFrame, standard_errors: float) -> int:
    """The index of the smallest rate whose validation error is within so many standard errors of the lowest."""
    rates = rates[rates["seeds"] == rates["seeds"].max()]
    lowest = rates.loc[rates["validation"].idxmin()]
    error = 0 if pd.isna(lowest["error"]) else lowest["error"]  # one seed has no standard error
    return int(rates.loc[rates["validation"] <= lowest["validation"] + standard_errors * error, "rate"].idxmin())


# The report's own tables

#: The report's names of methods and selections -> ours.
_METHODS = {"Full Finetuning": "full", "Full Fine-tuning": "full", "BitFit": "bitfit", "LoRA": "lora", "IA3": "ia3"}
_SELECTIONS = {"No selection": "none", "Influence Method": "influence", "TS-DShapley": "ts-dshapley"}


def read_report() -> dict:
    """The report's tables, as ``data/report.json`` has them."""
    return json.loads((DATA_FOLDER / "report.json").read_text(encoding="utf-8"))


def report_table3() -> pd.DataFrame:
    """The report's Table 3, one row per cell: ``selection``, ``method`` (by our names) and test ``rmse`` in logD."""
    return pd.DataFrame(
        {"selection": _SELECTIONS[selection], "method": _METHODS[method], "rmse": rmse}
        for selection, row in read_report()["table3"]["rows"].items()
        for method, rmse in row.items()
    )


def report_table4() -> pd.Series:
    """The report's Table 4: minutes of training on a T4, by our names of methods."""
    return pd.Series(read_report()["table4"]["rows"], name="minutes").rename(index=_METHODS)


# A class's submissions

_COLUMNS = ["cell", "seed", "rmse"]


def submit(rows: pd.DataFrame, folder: str | Path, student: str | int) -> Path:
    """Write a student's rows, ``cell``, ``seed`` and test ``rmse`` (logD), as ``<student>.csv`` into a class's folder.

    Nothing is overwritten: a DataError if the student has submitted other rows, or another student has the same seed.
    """
    if not re.fullmatch(r"\w[\w .-]*", str(student)):
        raise DataError(f"{student!r} cannot name a file; use letters, digits, spaces, points and hyphens")
    path = Path(folder).expanduser() / f"{student}.csv"
    mine = _checked(rows, "the rows")
    content = mine.to_csv(index=False)
    if path.exists() and path.read_text(encoding="utf-8") != content:
        raise DataError(
            f"{path.name} is there with other rows; choose another name, or delete it if it is yours and you correct it"
        )
    for other in path.parent.glob("*.csv"):
        taken = _submission(other).merge(mine, on=["cell", "seed"])
        if other.stem != str(student) and len(taken):
            raise DataError(f"{other.stem!r} has submitted seed {taken['seed'].iloc[0]}; choose another and run again")
    write_atomically(path, content)
    return path


def load_submissions(folder: str | Path) -> pd.DataFrame:
    """The rows of all files of a class's folder: ``cell``, ``seed``, ``rmse`` (logD) and ``student``.

    Two rows with the same cell and seed are refused: they are one experiment, and must not be counted as two.
    """
    paths = sorted(Path(folder).expanduser().glob("*.csv"))
    if not paths:
        raise DataError(f"no CSV file in {Path(folder).name}/; every student writes one with submit")
    rows = pd.concat([_submission(path).assign(student=path.stem) for path in paths], ignore_index=True)
    if (twice := rows.duplicated(["cell", "seed"], keep=False)).any():
        cell, seed = rows.loc[twice, ["cell", "seed"]].iloc[0]
        files = rows.loc[(rows["cell"] == cell) & (rows["seed"] == seed), "student"]
        raise DataError(f"cell {cell!r} with seed {seed} is in {' and in '.join(f'{name}.csv' for name in files)}")
    return rows


def _submission(path: Path) -> pd.DataFrame:
    try:
        return _checked(pd.read_csv(path), path.name)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise DataError(f"{path.name} cannot be read as a CSV: {error}") from error


def _checked(rows: pd.DataFrame, source: str) -> pd.DataFrame:
    """The three columns of submitted rows, with seeds and RMSEs that are numbers; ``source`` names them in an error."""
    if missing := [column for column in _COLUMNS if column not in rows]:
        raise DataError(f"{source}: {', '.join(missing)} is missing; needed are the columns {', '.join(_COLUMNS)}")
    numbers = rows[["seed", "rmse"]].apply(pd.to_numeric, errors="coerce")
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(bad):
        raise DataError(f"{source}, row {bad[0] + 2}: the seed or the RMSE is no number")
    return numbers.assign(cell=rows["cell"].astype(str))[_COLUMNS]


def paired_gaps(rows: pd.DataFrame, a: str, b: str, column: str = "cell") -> pd.Series:
    """Test RMSE of cell a minus that of cell b (logD) for every seed that has both, by seed."""
    wide = rows.pivot(index="seed", columns=column, values="rmse").reindex(columns=[a, b]).dropna()
    return (wide[a] - wide[b]).rename("gap")


def mean_gap(gaps: pd.Series, level: float = 0.95) -> Difference:
    """The mean of :func:`paired_gaps` with its t interval over seeds, of which there must be two."""
    if len(gaps) < 2:
        raise DataError(f"an interval over seeds needs two, and there are {len(gaps)} with both")
    low, high = scipy.stats.t.interval(level, len(gaps) - 1, gaps.mean(), scipy.stats.sem(gaps))
    return Difference(float(gaps.mean()), (float(low), float(high)))
