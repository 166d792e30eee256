"""Rows of ``data/results``: what each depends on, and how it is added once.

A row is known by its key columns. Its column ``settings`` has twelve digits for all that it depends on: settings, data
files and kinds of result (:func:`molft_utils.cache.digits`). A row that is there is not computed again; where its
digits are not today's, ``make results ARGS=--check`` lists it, and deleting it makes room for a new one.
"""

import dataclasses
import datetime
import subprocess
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from molft_utils.cache import digits
from molft_utils.experiments import pipeline
from molft_utils.files import DATA_FOLDER, ROOT, file_hash, write_atomically
from molft_utils.settings import Settings, learning_rate_of

RESULTS = DATA_FOLDER / "results"

#: Column -> value.
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Run:
    """A row of a table: its key columns, its settings, and what is computed with them.

    ``recipe`` is a dataclass, whose fields are inputs; it has ``kinds`` of result that really run, ``files`` that it
    reads of ``data/``, and ``row(settings)``, the figures. ``predictions`` [n_test] among them go to
    ``<table>_predictions.csv``, where differences are paired.
    """

    table: str
    key: Row
    settings: Settings
    recipe: Any

    @property
    def digits(self) -> str:
        """What stands in the column ``settings`` if it is computed today."""
        files = {name: file_hash(DATA_FOLDER / name) for name in self.recipe.files}
        rate = getattr(self.settings, learning_rate_of(getattr(self.recipe, "method", "full")))
        return digits(self.settings, *self.recipe.kinds, **dataclasses.asdict(self.recipe), **files, rate=rate)

    def recorded(self) -> list[str]:
        """The digits of the table's row with this key; none where there is no such row."""
        rows = read(self.table)
        return rows[_same(rows, self.key)].get("settings", pd.Series(dtype=str)).tolist()

    def compute(self) -> None:
        """Compute the row and add it."""
        today, row = self.digits, self.recipe.row(self.settings)
        predictions = row.pop("predictions", None)
        if predictions is not None:
            test = pipeline.tables(self.settings).test[["smiles", "label"]].reset_index(drop=True)
            predictions = test.assign(**{"/".join(map(str, self.key.values())): np.round(predictions, 4)})
        add(self.table, self.key, row, today, predictions)
        print(f"{self.table}, {self.key}: done", flush=True)


def add(table: str, key: Row, row: Row, settings: str, predictions: pd.DataFrame | None = None) -> None:
    """Write a row in place of an earlier one with the same key; two processes may write to one table.

    ``predictions`` has the test molecules (``smiles``, ``label``) and a column with what was predicted for them.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    whole = {**key, **row, "commit": commit(), "date": datetime.date.today().isoformat(), "settings": settings}
    with FileLock(RESULTS / f".{table}.lock"):
        if predictions is not None:  # first, so that no row is without its predictions
            _add_predictions(f"{table}_predictions", predictions)
        others = read(table)
        rows = pd.DataFrame([*others[~_same(others, key)].to_dict("records"), whole]).sort_values(list(key))
        write_atomically(RESULTS / f"{table}.csv", rows.to_csv(index=False, float_format="%.7g"))


def read(table: str) -> pd.DataFrame:
    """All rows of a table; an empty frame where the table was never made."""
    path = RESULTS / f"{table}.csv"
    return pd.read_csv(path, dtype={"settings": str, "commit": str}) if path.exists() else pd.DataFrame()


def commit() -> str:
    """The commit of the code that runs, with ``-dirty`` if files have changed since."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _same(rows: pd.DataFrame, key: Row) -> pd.Series:
    return (rows.reindex(columns=list(key)) == list(key.values())).all(axis=1)


def _add_predictions(table: str, new: pd.DataFrame) -> None:
    wide = read(table)
    if wide.empty or not wide[["smiles", "label"]].equals(new[["smiles", "label"]]):
        wide = new  # other test molecules: predictions for them cannot be compared with the earlier ones
    wide = wide.assign(**{new.columns[2]: new.iloc[:, 2]})
    write_atomically(RESULTS / f"{table}.csv", wide.to_csv(index=False))
