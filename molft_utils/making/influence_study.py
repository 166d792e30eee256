"""A result of record about the influence scores themselves: do two solvers agree, do the scores find wrong labels?

A row a seed and set of parameters in ``data/results/influence.csv``, part of ``make results``.
"""

from ..data import table_hash
from ..evaluation import auroc, records
from ..experiments import pipeline, selection
from ..profiles import INFLUENCE, settings
from ..shapley import rank_correlation

#: Parameters -> where the settings of LiSSA differ from the class profile's.
SOLVERS = {"head": dict(influence_damping=0.1, influence_depth=1000), "all": {}}


#: What LiSSA is held against, on the same molecules with the same damping. It raises an error where the damped Hessian
#: is not positive definite, as with a damping of 5; the class profile's of 20 is enough for all three seeds.
REFERENCE = dict(influence_solver="cg", influence_depth=100)


#: What might find the wrong labels -> how it ranks the scored table (high: suspicious).
FINDERS = {
    "low_score": lambda table: -table["score"],
    "low_product": lambda table: -table["dot_product"],
    "high_loss": lambda table: table["loss"],
    "large_score": lambda table: table["score"].abs(),
}


def run_study(seed: int, parameters: str) -> None:
    """Compute one row, unless it is on record with the same inputs."""
    cfg = settings("class", seed=seed, **SOLVERS[parameters])
    secondary = selection.secondary_table(cfg)
    inputs = {**pipeline.describe(cfg), **cfg.pick(*INFLUENCE), "secondary": table_hash(secondary)}
    inputs["reference"] = REFERENCE
    key = {"parameters": parameters, "seed": seed}
    if records.is_recorded("influence", key, inputs):
        return
    lissa = selection.influence(cfg, secondary, parameters=parameters)
    reference = selection.influence(cfg.replace(**REFERENCE), secondary, parameters=parameters)
    row = {
        "damping": cfg.influence_damping,
        "n_helpful": int((lissa.scores > 0).sum()),
        "lissa_residual": lissa.direction.residual,
        "lissa_products": lissa.direction.n_products,
        "lissa_seconds": lissa.seconds,
        "cg_residual": reference.direction.residual,
        "cg_products": reference.direction.n_products,
        "cg_seconds": reference.seconds,
        "rank_correlation": rank_correlation(lissa.scores.numpy(), reference.scores.numpy()),
    }
    for name, rank in FINDERS.items():
        area, low, high = auroc(lissa.table["corrupted"], rank(lissa.table))
        row |= {f"auroc_{name}": area, f"auroc_{name}_low": low, f"auroc_{name}_high": high}
    records.add("influence", key, row, inputs)
