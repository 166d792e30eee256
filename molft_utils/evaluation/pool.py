"""One seed a student: the rows of a class, each in a small CSV, put together and compared."""

from pathlib import Path

import pandas as pd
import scipy.stats

from ..errors import DataError
from ..files import write_atomically
from . import records
from .intervals import Difference

COLUMNS = ["cell", "seed", "rmse"]


def hand_in(rows: pd.DataFrame, folder: str | Path) -> Path:
    """Write one student's rows, ``cell``, ``seed`` and test ``rmse`` (logD), as ``<seed>.csv`` into the class's folder.

    Raises
    ------
    DataError
        If a column is missing, or the rows have more than one seed.
    """
    if missing := [column for column in COLUMNS if column not in rows]:
        raise DataError(f"the rows lack {', '.join(missing)}; needed are {', '.join(COLUMNS)}")
    if rows["seed"].nunique() != 1:
        raise DataError(f"one file, one seed; these rows have the seeds {sorted(set(rows['seed']))}")
    path = Path(folder) / f"{rows['seed'].iloc[0]}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, rows[COLUMNS].to_csv(index=False))
    return path


def pooled(folder: str | Path) -> pd.DataFrame:
    """The rows of all files of a class's folder.

    Raises
    ------
    DataError
        If there is no file, a file has other columns or an RMSE that is no number, or two files have the same cell and
        seed; the message names the file.
    """
    parts = [_read(path) for path in sorted(Path(folder).glob("*.csv"))]
    if not parts:
        raise DataError(f"no CSV file in {Path(folder).name}/; every student writes one with hand_in")
    rows = pd.concat(parts, ignore_index=True)
    if (twice := rows.duplicated(["cell", "seed"])).any():
        row = rows[twice].iloc[0]
        raise DataError(f"{row['file']}: cell {row['cell']!r} with seed {row['seed']} is in another file as well")
    return rows.drop(columns="file")


def _read(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} cannot be read as a CSV: {error}") from error
    if list(rows) != COLUMNS:
        raise DataError(f"{path.name} has the columns {', '.join(map(str, rows))}; needed are {', '.join(COLUMNS)}")
    numbers = pd.to_numeric(rows["rmse"], errors="coerce")
    if numbers.isna().any():
        raise DataError(f"{path.name}, row {numbers.isna().idxmax() + 2}: the RMSE is no number")
    return rows.assign(rmse=numbers, file=path.name)


def record_luck() -> pd.DataFrame:
    """The pool of luck on record: ``cell``, ``seed`` and test ``rmse`` (logD) of two cells with thirty seeds each.

    Raises
    ------
    DataError
        If the table was never made.
    """
    return records.read("luck")[COLUMNS]


def gaps(rows: pd.DataFrame, a: str, b: str) -> pd.Series:
    """Test RMSE of cell a minus that of cell b (logD) for every seed that has both, by seed."""
    wide = rows.pivot(index="seed", columns="cell", values="rmse").reindex(columns=[a, b]).dropna()
    return (wide[a] - wide[b]).rename("gap")


def mean_gap(by_seed: pd.Series) -> Difference:
    """The mean of :func:`gaps` with its 95 % t interval over seeds.

    Raises
    ------
    DataError
        With fewer than two seeds.
    """
    if len(by_seed) < 2:
        raise DataError(f"an interval over seeds needs two, and there are {len(by_seed)} with both cells")
    low, high = scipy.stats.t.interval(0.95, len(by_seed) - 1, by_seed.mean(), scipy.stats.sem(by_seed))
    return Difference(float(by_seed.mean()), (float(low), float(high)))
