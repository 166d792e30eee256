"""``data/results/peers.csv``: a row a figure, with the library's version, its spread, and what was measured how."""

import dataclasses
import datetime
import json
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import pandas as pd
from filelock import FileLock

from ...errors import DataError
from ...evaluation import records
from ...experiments import commit
from ...files import ROOT, write_atomically
from .environment import pinned

TABLE = "peers"

#: What is compared -> the libraries that must have a row there.
COMPARISONS = {
    "bank": ("molft", "kronfluence", "traker"),
    "solvers": ("molft", "pydvl", "dattri", "torch-influence"),
    "scoring": ("molft", "torch"),
    "shapley": ("molft", "pydvl", "scikit-learn"),
    "training": ("molft", "transformers", "torch"),
    "growth": ("molft",),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A figure of one library.

    Attributes
    ----------
    case
        What was measured, for instance ``"LDS, test molecules"``; figures of one case stand beside each other.
    library, method
        The distribution's name, and what of it.
    figure, low, high
        The figure and its spread; ``note`` says which: an interval, or the range of the repetitions. nan where there
        is none.
    unit
        Of all three.
    """

    case: str
    library: str
    method: str
    figure: float
    low: float
    high: float
    unit: str
    note: str = ""


def write(comparison: str, rows: Sequence[Row], inputs: dict) -> None:
    """Write a comparison's rows in place of its earlier ones.

    Raises
    ------
    DataError
        If a library is missing that the comparison must show, or a spread does not hold its figure.
    """
    require_whole(comparison, rows)
    stamp = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "inputs": json.dumps(inputs, sort_keys=True),
    }
    table = pd.DataFrame(
        {"comparison": comparison, **dataclasses.asdict(row), "version": version_of(row.library), **stamp}
        for row in rows
    )
    path = records.RESULTS / f"{TABLE}.csv"
    with FileLock(records.RESULTS / f".{TABLE}.lock"):
        others = [pd.read_csv(path).query("comparison != @comparison")] if path.exists() else []
        whole = pd.concat([*others, table], ignore_index=True)
        place = whole["comparison"].map(list(COMPARISONS).index)
        whole = whole.iloc[place.argsort(kind="stable")]
        write_atomically(path, whole.to_csv(index=False, float_format="%.5g"))


def require_whole(comparison: str, rows: Sequence[Row]) -> None:
    """Refuse rows that leave a library out, or whose spread does not hold the figure."""
    if missing := set(COMPARISONS[comparison]) - {row.library for row in rows}:
        raise DataError(
            f"{comparison}: no row of {', '.join(sorted(missing))}; a peer that cannot run has one that says so"
        )
    for row in rows:
        if row.low > row.figure or row.figure > row.high:
            raise DataError(f"{comparison}, {row.case}, {row.method}: {row.figure} is not in {row.low} to {row.high}")


def version_of(library: str) -> str:
    """The version that is installed; molft's own from pyproject.toml, none for what cannot be had."""
    if library == "molft":
        return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    try:
        return version(library).partition("+")[0]
    except PackageNotFoundError:
        return pinned().get(library, "")
