"""Rows of ``data/results/peers.csv``: a figure each, with the library's version, its spread, the date and the commit.

Times are CPU seconds of the process, which runs on one thread: on a machine that does other work as well, a clock would
show that work, too. The cases take turns in each round, so that a slow moment of the machine hits all of them.
"""

import dataclasses
import datetime
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from molft_utils.files import DATA_FOLDER, ROOT, write_atomically
from study import commit

torch.set_num_threads(1)

TABLE = DATA_FOLDER / "results" / "peers.csv"


@dataclasses.dataclass(frozen=True)
class Row:
    """A figure of one library; those of one case are compared."""

    case: str  # what was measured, for instance "LDS, test molecules"
    library: str
    method: str
    figure: float
    low: float
    high: float
    unit: str
    note: str = ""  # what the spread low to high is: an interval, or the range of the repetitions


def write(comparison: str, rows: Sequence[Row]) -> None:
    """Write a comparison's rows in place of its earlier ones."""
    stamp = {"date": datetime.date.today().isoformat(), "commit": commit()}
    new = pd.DataFrame(
        {"comparison": comparison, **dataclasses.asdict(row), "version": version_of(row.library), **stamp}
        for row in rows
    )
    others = pd.read_csv(TABLE, dtype={"version": str, "commit": str}).query("comparison != @comparison")
    write_atomically(TABLE, pd.concat([others, new]).to_csv(index=False, float_format="%.5g"))


def version_of(library: str) -> str:
    """The installed version; molft's own from pyproject.toml; "" for what is not installed."""
    if library == "molft":
        return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    try:
        return version(library).partition("+")[0]
    except PackageNotFoundError:
        return ""


def timed(compute: Callable) -> tuple:
    """A result, and the CPU seconds that it took."""
    began = time.process_time()
    result = compute()
    return result, time.process_time() - began


def in_turns(cases: Mapping[str, Callable[[], object]], repeats: int) -> pd.DataFrame:
    """CPU seconds of each case [repeats, cases]; a round before the first warms up and is left out."""
    rounds = [{name: timed(run)[1] for name, run in cases.items()} for _ in range(repeats + 1)]
    return pd.DataFrame(rounds[1:])


def timing_rows(
    case: str, seconds: pd.DataFrame, libraries: Mapping[str, str], ours: str, per: float = 1.0, unit: str = "s"
) -> list[Row]:
    """Median and range of each case's time, and of the others' time as a multiple of ours, round by round.

    ``seconds`` is from :func:`in_turns`, and ``libraries`` gives each case's library. Times are multiplied by ``per``,
    and then have this unit.
    """
    note = f"CPU time, one thread: median and range of {len(seconds)} rounds in turn"
    times = [Row(case, libraries[name], name, *spread(per * seconds[name]), unit, note) for name in seconds]
    ratios = seconds.div(seconds[ours], axis=0).drop(columns=ours)
    return times + [
        Row(f"{case}: against ours", libraries[name], name, *spread(ratios[name]), f"times as long as {ours}", note)
        for name in ratios
    ]


def agreement(what: str, library: str, method: str, theirs: ArrayLike, ours: ArrayLike, more: str = "") -> Row:
    """The largest difference of two arrays of scores or values, by the largest of ours."""
    ours = np.asarray(ours)
    apart = float(np.abs(np.asarray(theirs) - ours).max() / np.abs(ours).max())
    note = f"largest difference from ours, of the largest{more}"
    return Row(f"{what}: agreement", library, method, apart, apart, apart, "relative", note)


def spread(values: Sequence[float] | pd.Series) -> tuple[float, float, float]:
    """Median, lowest and highest."""
    return float(np.median(values)), float(min(values)), float(max(values))
