"""A result of record about the influence scores themselves: do two solvers agree, do the scores find wrong labels?

A row a seed and set of parameters in ``data/results/influence.csv``, part of ``make results``.
"""

import pandas as pd

from . import pipeline, records, selection, stages
from .evaluate import auroc
from .influence import influence_scores
from .settings import INFLUENCE, Settings, settings
from .shapley import rank_correlation

#: Parameters -> settings of LiSSA for the scores, and for the comparison of LiSSA with conjugate gradients. These need
#: a positive definite matrix: for all parameters the class profile's damping of 5 does not make it so, 20 does.
SOLVERS = {
    "head": (dict(influence_damping=0.1, influence_depth=1000), dict(influence_damping=0.1)),
    "all": ({}, dict(influence_damping=20.0)),
}
#: Training molecules of the reference for all parameters; for the head it takes all of them.
N_REFERENCE = 512

#: What might find the wrong labels -> how it ranks the scored table (high: suspicious).
FINDERS = {
    "low_score": lambda table: -table["score"],
    "low_product": lambda table: -table["dot_product"],
    "high_loss": lambda table: table["loss"],
    "large_score": lambda table: table["score"].abs(),
}


def run_study(seed: int, parameters: str) -> None:
    """Compute one row, unless it is on record with the same inputs."""
    cfg = settings("class", seed=seed, **SOLVERS[parameters][0])
    secondary = selection.secondary_table(cfg)
    inputs = {**pipeline.describe(cfg), **cfg.pick(*INFLUENCE), "secondary": stages.table_hash(secondary)}
    key = {"parameters": parameters, "seed": seed}
    if records.is_recorded("influence", key, inputs):
        return
    lissa = selection.influence(cfg, secondary, parameters=parameters)
    row = {
        "n_helpful": int((lissa.scores > 0).sum()),
        "lissa_residual": lissa.direction.residual,
        "lissa_products": lissa.direction.n_products,
        "lissa_seconds": lissa.seconds,
    }
    if parameters == "head" or seed == 0:  # for all parameters the reference is dear: one seed has it
        row |= _compare(cfg.replace(**SOLVERS[parameters][1]), secondary, parameters)
    for name, rank in FINDERS.items():
        area, low, high = auroc(lissa.table["corrupted"], rank(lissa.table))
        row |= {f"auroc_{name}": area, f"auroc_{name}_low": low, f"auroc_{name}_high": high}
    records.add("influence", key, row, inputs)


def _compare(cfg: Settings, secondary: pd.DataFrame, parameters: str) -> dict:
    """LiSSA on all batches of the training data against conjugate gradients on a fixed part of them."""
    lissa = selection.influence(cfg, secondary, parameters=parameters)
    train = selection.with_secondary(cfg, secondary)
    model = pipeline.after_mlm(cfg, train).model
    if parameters == "all":
        train = train.sample(N_REFERENCE, random_state=cfg.seed)
    by_cg = cfg.replace(influence_solver="cg", influence_depth=100)
    reference = influence_scores(model, train, pipeline.tables(cfg).validation, secondary, by_cg, parameters)
    return {
        "damping": cfg.influence_damping,
        "cg_molecules": len(train),
        "cg_residual": reference.direction.residual,
        "cg_products": reference.direction.n_products,
        "cg_seconds": reference.seconds,
        "rank_correlation": rank_correlation(lissa.scores.numpy(), reference.scores.numpy()),
    }


def study() -> pd.DataFrame:
    """The rows on record; without any, a DataError that names the command."""
    return records.read("influence").drop(columns="inputs")
