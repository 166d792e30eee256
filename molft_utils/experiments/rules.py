"""The rules by which molecules are kept: the report's, with controls added.

:func:`training_table` is the one place that knows how a rule becomes a table to train on.
"""

from collections.abc import Callable

import pandas as pd

from ..errors import DataError
from ..profiles import Settings
from . import selection
from .stages import Kind

#: How many molecules a rule that names a number keeps.
N_CHOSEN = 100

#: Name of a rule that adds -> the rows that it keeps of a scored secondary table.
ADDING: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {
    "train alone": lambda table, seed: table.iloc[:0],
    "all": lambda table, seed: table.sort_index(),
    "all positive": lambda table, seed: table[table["score"] > 0],
    "top 100": lambda table, seed: table.nlargest(N_CHOSEN, "score"),
    "bottom 100": lambda table, seed: table.nsmallest(N_CHOSEN, "score"),
    "100 random": lambda table, seed: table.sample(min(N_CHOSEN, len(table)), random_state=seed),
    "top 100 by gradient product": lambda table, seed: table.nlargest(N_CHOSEN, "dot_product"),
    "oracle": lambda table, seed: table[~table["corrupted"]],
}

#: Rules that add without scores.
UNSCORED = ("train alone", "all", "100 random", "oracle")

#: Name of a rule that removes -> what it leaves of the training split and the secondary set.
REMOVING: dict[str, Callable[[selection.ShapleyResult, int], pd.DataFrame]] = {
    "ts-dshapley": lambda valued, seed: valued.kept(),
    "random removal": lambda valued, seed: valued.kept_at_random(seed),
    "highest removed": lambda valued, seed: valued.kept_without_highest(),
}


def choose(table: pd.DataFrame, rule: str, seed: int = 0) -> pd.DataFrame:
    """The molecules that a rule keeps, in the order of the secondary set.

    Parameters
    ----------
    table
        The secondary set, with the column ``score``, ``dot_product`` or ``corrupted`` where the rule reads it.
    rule, seed
        A key of ``ADDING``, and the seed of the rule that draws at random.

    Raises
    ------
    DataError
        If the rule is unknown, reads a column that is not there, or keeps nothing though it should keep something.
    """
    if rule not in ADDING:
        raise DataError(f"unknown rule {rule!r}; choose one of {', '.join(ADDING)}")
    try:
        chosen = ADDING[rule](table, seed).sort_index()
    except KeyError as error:
        raise DataError(f"the rule {rule!r} reads the column {error}, which the secondary set lacks") from error
    if rule != "train alone" and not len(chosen):
        raise DataError(f"the rule {rule!r} keeps none of {len(table)} molecules; no score is positive")
    return chosen


def training_table(settings: Settings, secondary: pd.DataFrame, rule: str, target: str = "validation") -> pd.DataFrame:
    """What a rule trains on: ``smiles, label`` of the training split and of the secondary set, in this order.

    Parameters
    ----------
    secondary
        ``smiles``, ``label`` (logD), and ``corrupted`` for the oracle.
    rule
        A key of ``ADDING`` or ``REMOVING``; what it needs is scored or valued unless it is on disk.
    target
        As in :func:`~molft_utils.experiments.selection.influence`.

    Raises
    ------
    DataError
        If the rule is unknown.
    """
    seed = settings.training.seed
    if rule not in {*ADDING, *REMOVING}:
        raise DataError(f"unknown rule {rule!r}; choose one of {', '.join([*ADDING, *REMOVING])}")
    if rule in REMOVING:
        return REMOVING[rule](selection.shapley(settings, secondary), seed)[["smiles", "label"]].reset_index(drop=True)
    table = secondary if rule in UNSCORED else selection.influence(settings, secondary, target).table
    return selection.with_secondary(settings, choose(table, rule, seed))


def stages_of(rule: str) -> list[Kind]:
    """The stages that :func:`training_table` runs for a rule."""
    if rule in REMOVING:
        return [selection.SHAPLEY]
    return [] if rule in UNSCORED else [selection.INFLUENCE]
