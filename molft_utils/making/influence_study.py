"""Results of record about the influence scores themselves: do two solvers agree, and do the scores find wrong labels?

``data/results/influence.csv`` has one row for each seed and set of parameters; ``make results`` makes it.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from ..data import table_hash
from ..evaluation import auroc, records
from ..experiments import commit, inputs_of, selection
from ..influence import InfluenceResult
from ..profiles import settings
from ..shapley import rank_correlation

#: Parameters -> where the settings of LiSSA differ from the class profile's.
SOLVERS: dict[str, dict[str, Any]] = {"head": dict(influence_damping=0.1, influence_depth=1000), "all": {}}

#: The reference for LiSSA, on the same molecules with the same damping. It raises an error where the damped Hessian is
#: not positive definite, for instance with a damping of 5; the class profile's 20 is enough for all three seeds.
REFERENCE: dict[str, Any] = dict(influence_solver="cg", influence_depth=100)

#: What might find the wrong labels -> a number for each molecule of the scored table, high where it is suspicious.
FINDERS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "low_score": lambda table: -table["score"],
    "low_product": lambda table: -table["dot_product"],
    "high_loss": lambda table: table["loss"],
    "large_score": lambda table: table["score"].abs(),
}


def run_study(seed: int, parameters: str) -> None:
    """Compute one row, unless it is on record with the same inputs; ``parameters`` is a key of ``SOLVERS``."""
    cfg = settings("class", seed=seed, **SOLVERS[parameters])
    secondary = selection.secondary_table(cfg)
    inputs = {**inputs_of(cfg, selection.INFLUENCE), "reference": REFERENCE, "secondary": table_hash(secondary)}
    key = {"parameters": parameters, "seed": seed}
    if records.is_recorded("influence", key, inputs):
        return
    lissa = selection.influence(cfg, secondary, parameters=parameters)
    reference = selection.influence(cfg.replace(**REFERENCE), secondary, parameters=parameters)
    row = {"damping": cfg.influence.damping, **_agreement(lissa, reference), **_areas(lissa.table)}
    records.add("influence", key, {**row, "commit": commit()}, inputs)


def _agreement(lissa: InfluenceResult, reference: InfluenceResult) -> dict:
    """What each solver reached and cost, and the rank correlation of their scores."""
    return {
        "n_helpful": int((lissa.scores > 0).sum()),
        "lissa_residual": lissa.direction.residual,
        "lissa_products": lissa.direction.n_products,
        "lissa_seconds": lissa.seconds,
        "cg_residual": reference.direction.residual,
        "cg_products": reference.direction.n_products,
        "cg_seconds": reference.seconds,
        "rank_correlation": rank_correlation(lissa.scores.numpy(), reference.scores.numpy()),
    }


def _areas(table: pd.DataFrame) -> dict:
    """How well each of ``FINDERS`` finds the wrong labels: areas under the ROC curve with their intervals."""
    row: dict[str, float] = {}
    for name, suspicion in FINDERS.items():
        area, low, high = auroc(table["corrupted"], suspicion(table))
        row |= {f"auroc_{name}": area, f"auroc_{name}_low": low, f"auroc_{name}_high": high}
    return row
