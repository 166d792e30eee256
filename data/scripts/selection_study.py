"""When does selection pay? ``data/results/selection.csv``, made by ``python -m molft_utils.making.selection_study``.

A few trusted molecules and a doubtful pool (:mod:`molft_utils.experiments.doubtful`). Every rule drops as many of the
pool as are wrong; one does not know how many, and asks the source model on half of the validation split.
The language model is then trained on what remains, and graded on the test split. Beside the rules stand keeping all,
and the trusted molecules alone for as many steps as the others. One row for each kind of error, share, rule and seed;
``make results`` makes them all, and goes on where it was.
"""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
from joblib import Parallel, delayed

from ..data import table_hash
from ..evaluation import auroc, records
from ..experiments import commit, doubtful, graded, inputs_of, pipeline, selection
from ..profiles import Settings, settings

#: Rules after which a model is trained; the others are judged by their AUROC and precision alone.
TRAINED = ("influence", "leave-one-out residual", "loss", "TS-DShapley", "random", "oracle")

#: Kinds of error with the shares and the seeds that are run, in this order; without errors there is one pool for all
#: kinds.
PLAN: list[tuple[str, tuple[float, ...], tuple[int, ...]]] = [
    ("natural logarithm", (0.2, 0.4, 0.1, 0.0), (0, 1, 2)),
    (doubtful.MEASURED, (1.0,), (0, 1, 2)),
    ("permuted", (0.2, 0.4), (0, 1, 2)),
    ("natural logarithm", (0.2, 0.4, 0.1, 0.0), (3, 4)),
    (doubtful.MEASURED, (1.0,), (3, 4)),
    ("lost sign", (0.2, 0.4), (0, 1, 2)),
]

#: The language model on folds trains as many models as there are folds.
FOLDS = "out-of-fold residual"

#: What takes long is judged for these shares and seeds alone.
COSTLY = (FOLDS, "TS-DShapley, nothing skipped", "Banzhaf", "Beta(1, 16)")
COSTLY_SHARES, COSTLY_SEEDS = (0.2, 1.0), (0, 1, 2)

UNKNOWN_NUMBER = "TS-DShapley, number chosen"


def run_pool(kind: str, share: float, seed: int) -> None:
    """Compute the rows of one pool that are not on record with the same inputs."""
    cfg = settings("class", seed=seed)
    molecules = doubtful.draw_pool(cfg, kind, share)
    evidence = doubtful.Evidence(cfg, molecules)
    costly = share in COSTLY_SHARES and seed in COSTLY_SEEDS
    inputs_of_pool = {
        **inputs_of(cfg, selection.INFLUENCE, selection.SHAPLEY),
        "everything": table_hash(molecules.everything),
    }
    for rule in [rule for rule in _rules(molecules) if costly or rule not in COSTLY]:
        key = {"kind": kind, "share": share, "rule": rule, "seed": seed}
        inputs = {**inputs_of_pool, "trains": _trains(rule)}
        if not records.is_recorded("selection", key, inputs):
            row = _row(evidence, rule)
            records.add("selection", key, {**row, "commit": commit()}, inputs)


def _rules(molecules: doubtful.Doubtful) -> Iterator[str]:
    """Where no label is wrong there is nothing to drop, and all rules keep everything."""
    yield from ("keep all", "trusted only")
    if molecules.pool["corrupted"].any():
        yield from (*doubtful.RULES, UNKNOWN_NUMBER, FOLDS)


def _row(evidence: doubtful.Evidence, rule: str) -> dict:
    """Area under the curve and precision of a rule, and the test error of the model that is trained after it."""
    molecules, cfg = evidence.molecules, evidence.settings
    wrong = molecules.pool["corrupted"].to_numpy(dtype=bool)
    if rule == "keep all":
        return _trained(cfg, molecules, np.ones(len(wrong), dtype=bool))
    if rule == "trusted only":
        return _trained(_with_as_many_steps(cfg, molecules), molecules, np.zeros(len(wrong), dtype=bool))
    if rule == UNKNOWN_NUMBER:
        values, n_dropped = doubtful.values_and_number(evidence)
    elif rule == FOLDS:
        values, n_dropped = evidence.of_pool(doubtful.language_model_out_of_fold(evidence)), int(wrong.sum())
    else:
        values, n_dropped = doubtful.pool_values(evidence, rule), int(wrong.sum())
    remain = doubtful.kept(values, n_dropped)
    area, low, high = auroc(wrong, -values)
    found = {"auroc": area, "auroc_low": low, "auroc_high": high}
    found |= {"precision": wrong[~remain].mean() if n_dropped else np.nan, "n_dropped": n_dropped}
    return {**found, **(_trained(cfg, molecules, remain) if _trains(rule) else {})}


def _trains(rule: str) -> bool:
    """Whether a model is trained after a rule."""
    return rule in ("keep all", "trusted only", *TRAINED, UNKNOWN_NUMBER)


def _trained(cfg: Settings, molecules: doubtful.Doubtful, remain: np.ndarray) -> dict:
    row = graded(pipeline.after_mlm(cfg, molecules.with_pool(remain), early_stopping=False), cfg).row
    return {name: row[name] for name in ("rmse", "validation_rmse", "n_train", "epochs", "seconds")}


def _with_as_many_steps(cfg: Settings, molecules: doubtful.Doubtful) -> Settings:
    times = len(molecules.everything) / len(molecules.trusted)
    return cfg.replace(epochs=round(cfg.regression.epochs * times))


def run_study(n_jobs: int, kinds: Sequence[str] | None = None) -> None:
    """Compute the pools of ``PLAN`` that are not on record, some at a time; ``kinds`` picks kinds of error."""
    pools = [
        (kind, share, seed)
        for kind, shares, seeds in PLAN
        if not kinds or kind in kinds
        for seed in seeds
        for share in shares
    ]
    Parallel(n_jobs=n_jobs)(delayed(run_pool)(*pool) for pool in pools)


def main() -> None:
    """Make the table from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="pools at a time, one thread each")
    parser.add_argument("--kinds", nargs="+", help="only these kinds of error")
    args = parser.parse_args()
    run_study(args.jobs, args.kinds)


if __name__ == "__main__":
    main()
