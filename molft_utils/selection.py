"""Which molecules of a secondary set are kept: the report's rules, and the controls that it lacks.

A rule takes the scored secondary table (:class:`~molft_utils.influence.InfluenceResult`, the best first) and a seed.
"""

from collections.abc import Callable

import pandas as pd

from .errors import DataError

N_CHOSEN = 100

RULES: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {
    "none": lambda table, seed: table.iloc[:0],
    "all": lambda table, seed: table.sort_index(),
    "all positive": lambda table, seed: table[table["score"] > 0],
    "top 100": lambda table, seed: table.nlargest(N_CHOSEN, "score"),
    "bottom 100": lambda table, seed: table.nsmallest(N_CHOSEN, "score"),
    "100 random": lambda table, seed: table.sample(min(N_CHOSEN, len(table)), random_state=seed),
    "top 100 by gradient product": lambda table, seed: table.nlargest(N_CHOSEN, "dot_product"),
}


def choose(table: pd.DataFrame, rule: str, seed: int = 0) -> pd.DataFrame:
    """The molecules that a rule keeps, in the order of the secondary set.

    Raises
    ------
    DataError
        If the rule is unknown, or nothing is left by a rule that should keep something.
    """
    if rule not in RULES:
        raise DataError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
    chosen = RULES[rule](table, seed).sort_index()
    if rule != "none" and not len(chosen):
        raise DataError(f"the rule {rule!r} keeps none of {len(table)} molecules; no score is positive")
    return chosen
