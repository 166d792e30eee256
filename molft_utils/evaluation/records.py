"""CSV files of ``data/results``: one row per run, with everything that the run depended on in the column ``inputs``.

A run is identified by its *key*, for instance ``{"variant": "baseline", "seed": 0}``. Two processes may
write to one table.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from ..errors import DataError
from ..files import DATA_FOLDER, write_atomically
from ..inputs import changes

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
    return _csv(path)


def _csv(path: Path, **options: Any) -> pd.DataFrame:
    """A file of ``data/results``.

    Raises
    ------
    DataError
        If it is damaged.
    """
    try:
        return pd.read_csv(path, **options)
    except ValueError as error:  # pandas' own errors and those of decoding
        raise DataError(
            f"{path} is damaged ({str(error).strip()}); `git checkout {path.name}` in its folder brings it back, or "
            "delete it and `make results` makes it again"
        ) from error


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
    name = _name(table, key)
    try:
        changed = changes(json.loads(rows["inputs"].iloc[0]), json.loads(json.dumps(inputs)))
    except (ValueError, TypeError, AttributeError):  # no JSON, or not an object
        print(f"{name}: its inputs are damaged; running it again", flush=True)
        return False
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
        write_atomically(RESULTS / f"{table}.csv", rows.to_csv(index=False, float_format="%.7g"))
    print(f"{_name(table, key)}: done", flush=True)


def _add_predictions(path: Path, predictions: pd.DataFrame) -> None:
    """Write a run's predictions as a column of the table's file, beside those of the other runs."""
    molecules = predictions.iloc[:, :2].reset_index(drop=True)
    wide = _csv(path) if path.exists() else molecules
    if wide.iloc[:, :2].to_numpy().tolist() != molecules.to_numpy().tolist():
        print(f"{path.name}: the test molecules or labels have changed; its other columns are dropped")
        wide = molecules
    wide = wide.assign(**{predictions.columns[2]: predictions.iloc[:, 2].to_numpy().round(4)})
    write_atomically(path, wide.to_csv(index=False))


def _columns(path: Path) -> list[str]:
    return list(_csv(path, nrows=0)) if path.exists() else []


def _rows(table: str, key: dict[str, Any], with_key: bool) -> pd.DataFrame:
    """The rows with this key, or all the others; none where the table does not exist yet."""
    if not (RESULTS / f"{table}.csv").exists():
        return pd.DataFrame()
    rows = read(table)
    same = (rows[list(key)] == list(key.values())).all(axis=1)
    return rows[same if with_key else ~same]


def _name(table: str, key: dict[str, Any]) -> str:
    return ", ".join([table, *(f"{name} {value}" for name, value in key.items())])
