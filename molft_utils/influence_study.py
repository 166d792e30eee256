"""A result of record about the influence scores themselves: do two solvers agree, do the scores find wrong labels?

A row a seed and set of parameters in ``data/results/influence.csv``, part of ``make results``.
"""

import json

import pandas as pd
from filelock import FileLock

from . import pipeline, selection, stages
from .data import DATA_FOLDER
from .errors import DataError
from .evaluate import auroc
from .influence import influence_scores
from .settings import INFLUENCE, Settings, settings
from .shapley import rank_correlation

PATH = DATA_FOLDER / "results" / "influence.csv"

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
    text = json.dumps(inputs, sort_keys=True)
    if PATH.exists() and len(
        pd.read_csv(PATH).query("seed == @seed and parameters == @parameters and inputs == @text")
    ):
        print(f"influence study, {parameters}, seed {seed}: on record", flush=True)
        return
    lissa = selection.influence(cfg, secondary, parameters=parameters)
    row = {
        "seed": seed,
        "parameters": parameters,
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
    _write({**row, "inputs": text})


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


def _write(row: dict) -> None:
    with FileLock(PATH.with_name(".influence.lock")):
        rows = pd.read_csv(PATH) if PATH.exists() else pd.DataFrame(columns=list(row))
        same = (rows["seed"] == row["seed"]) & (rows["parameters"] == row["parameters"])
        rows = pd.concat([rows[~same], pd.DataFrame([row])]) if len(rows) else pd.DataFrame([row])
        rows = rows.sort_values(["parameters", "seed"])
        stages.write_atomically(PATH, rows.to_csv(index=False, float_format="%.4f"))
    print(f"influence study, {row['parameters']}, seed {row['seed']}: done", flush=True)


def study() -> pd.DataFrame:
    """The rows on record.

    Raises
    ------
    DataError
        If there are none.
    """
    if not PATH.exists():
        raise DataError(f"{PATH.name} is not in data/results; `make results` makes it")
    return pd.read_csv(PATH).drop(columns="inputs")
