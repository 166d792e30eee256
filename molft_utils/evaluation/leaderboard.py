"""A place for scores of one's own: graded by the retrained models, beside the built-in ones on record."""

import pandas as pd
from numpy.typing import ArrayLike

from . import records
from .retraining import LDS, lds, load_bank


def built_in_scores() -> pd.DataFrame:
    """The built-in scores on record, best first: means over seeds of the scored model.

    Returns
    -------
    DataFrame
        By score: ``LDS`` on the test molecules, its interval ``low`` to ``high``, and ``LDS on validation``, by which
        settings were chosen.
    """
    columns = {"test": "LDS", "low": "low", "high": "high", "validation": "LDS on validation"}
    table = records.read("lds").query("shown").groupby("score")[list(columns)].mean().rename(columns=columns)
    return table.sort_values("LDS", ascending=False)


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
    return pd.DataFrame({"LDS": [found.value], "low": [low], "high": [high]}, index=pd.Index([name], name="score"))
