"""Timing in turns: the cases run one after the other in each round, so that a slow moment of the machine hits all.

Times are CPU seconds of the process. It runs on one thread, so they are what a clock would show on an idle core; on a
machine that does other work as well, a clock would show that work, too.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from .rows import Row


def in_turns(cases: Mapping[str, Callable[[], object]], repeats: int) -> pd.DataFrame:
    """CPU seconds of each case [repeats, cases]; a round before the first warms up and is left out."""
    rounds = [{name: _seconds(run) for name, run in cases.items()} for _ in range(repeats + 1)]
    return pd.DataFrame(rounds[1:])


def _seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def timing_rows(
    case: str, seconds: pd.DataFrame, libraries: Mapping[str, str], ours: str, per: float = 1.0, unit: str = "s"
) -> list[Row]:
    """Median and range of each case's time, and of the others' time as a multiple of ours, round by round.

    Parameters
    ----------
    seconds
        As :func:`in_turns` gives them.
    libraries
        Case -> library.
    per, unit
        The times are multiplied by ``per``, and then have this unit.
    """
    note = f"CPU time, one thread: median and range of {len(seconds)} rounds in turn"
    times = [Row(case, libraries[name], name, *spread(per * seconds[name]), unit, note) for name in seconds]
    ratios = seconds.div(seconds[ours], axis=0).drop(columns=ours)
    return times + [
        Row(f"{case}: against ours", libraries[name], name, *spread(ratios[name]), f"times as long as {ours}", note)
        for name in ratios
    ]


def spread(values: Sequence[float] | pd.Series) -> tuple[float, float, float]:
    """Median, lowest and highest."""
    return float(np.median(values)), float(min(values)), float(max(values))


def slope(sizes: Sequence[float], values: np.ndarray) -> tuple[float, float, float]:
    """Slope of log values against log sizes: of the median over rounds, and its range over rounds.

    Parameters
    ----------
    values [n_rounds, n_sizes]
        Positive, for instance seconds.
    """
    x = np.log(sizes)
    of_rounds = [float(np.polyfit(x, np.log(row), 1)[0]) for row in values]
    middle = float(np.polyfit(x, np.log(np.median(values, axis=0)), 1)[0])
    return middle, min(middle, *of_rounds), max(middle, *of_rounds)
