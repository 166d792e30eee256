"""A place for scores of one's own: graded by the retrained models, beside the built-in ones on record."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from . import records
from .datamodels import LDS, lds
from .retraining import load_bank


def built_in_scores() -> pd.DataFrame:
    """The built-in scores on record, best first: means over seeds of the scored model.

    Of each score the damping is taken that is best on the *validation* molecules.

    Returns
    -------
    DataFrame
        By score: ``damping`` (a share of the largest eigenvalue; 0 where there is none), ``LDS`` on the test molecules,
        its interval ``low`` to ``high``, ``queries`` (the number of test molecules), and ``LDS on validation``.
    """
    columns = {"test": "LDS", "low": "low", "high": "high", "n_queries": "queries", "validation": "LDS on validation"}
    means = records.read("lds").groupby(["score", "damping"])[list(columns)].mean().rename(columns=columns)
    best = means.sort_values("LDS on validation").groupby("score").tail(1)
    return best.reset_index("damping").sort_values("LDS", ascending=False)


def grade(scores: ArrayLike, name: str = "yours") -> pd.DataFrame:
    """Grade scores by real retraining, and give them their place on the leaderboard.

    Parameters
    ----------
    scores : array [840, 3324]
        For each test molecule (in the order of the random split with seed 42) the score of each training molecule: the
        training split, followed by the secondary set. Positive: having it lowers that test molecule's loss.
    name
        The name of the row.

    Returns
    -------
    DataFrame
        The rows of :func:`built_in_scores` and this one, best first.

    Raises
    ------
    DataError
        As :func:`lds`.
    """
    found = lds(scores, load_bank())
    table = pd.concat([built_in_scores(), _row(name, found)])
    print(f"{name}: {found}")
    return table.sort_values("LDS", ascending=False)


def _row(name: str, found: LDS) -> pd.DataFrame:
    low, high = found.interval
    row = {"damping": np.nan, "LDS": found.value, "low": low, "high": high, "queries": len(found.per_query)}
    return pd.DataFrame([row], index=pd.Index([name], name="score"))
