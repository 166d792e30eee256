"""The results of record: ``python -m molft_utils.making.results``, or ``make results``.

Every run of a :class:`~molft_utils.making.variants.Variant` is a row of ``data/results/<table>.csv``: errors, seconds,
the commit of the code, and as ``inputs`` all that it depended on. Its test predictions are a column of
``<table>_predictions.csv``, from which paired intervals are computed. A run whose inputs have not changed is never repeated. If a setting, data file,
checkpoint, library or stage changes, a message says so and the row is replaced (:mod:`molft_utils.evaluation.records`).
"""

import argparse

from joblib import Parallel, delayed

from ..evaluation import records
from ..experiments import commit, graded, pipeline
from . import luck_study, selection_study, sweep_study
from .influence_study import run_ensemble, run_hessian, run_study
from .label_study import MODELS, SIZES, run_labels
from .variants import TABLES

SEEDS = (0, 1, 2, 3, 4)


def run_row(table: str, name: str, seed: int) -> None:
    """Compute one row of a table, unless it is on record."""
    variant = TABLES[table][name]
    cfg = variant.settings(seed)
    inputs, key, column = variant.inputs(cfg), {"variant": name, "seed": seed}, f"{name}/{seed}"
    if records.is_recorded(table, key, inputs, column):
        return
    result = graded(variant.fit(cfg), cfg)
    recorded = ("rmse", "validation_rmse", "n_train", "epochs", "seconds")
    row = {"description": variant.description, **{name: result.row[name] for name in recorded}, "commit": commit()}
    test = pipeline.tables(cfg).test[["smiles", "label"]].assign(**{column: result.predictions})
    records.add(table, key, row, inputs, test)


def main() -> None:
    """Make the tables from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    others = ["influence", "labels", "selection", "sweep", "luck"]
    parser.add_argument("--tables", nargs="+", default=[*TABLES, *others], choices=[*TABLES, *others])
    parser.add_argument("--variants", nargs="+", help="only these lines of the tables")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time; two cores do best with two")
    args = parser.parse_args()
    rows = [
        (table, name, seed)
        for table in args.tables
        if table in TABLES
        for seed in args.seeds
        for name in TABLES[table]
        if not args.variants or name in args.variants
    ]
    Parallel(n_jobs=args.jobs)(delayed(run_row)(*row) for row in rows)
    if "influence" in args.tables:
        Parallel(n_jobs=args.jobs)(delayed(run_study)(seed) for seed in args.seeds)
        run_ensemble(args.seeds)
        run_hessian(args.seeds[0])
    if "labels" in args.tables:
        runs = [(model, n, seed) for seed in args.seeds for n in SIZES for model in args.variants or MODELS]
        Parallel(n_jobs=args.jobs)(delayed(run_labels)(*run) for run in runs)
    if "selection" in args.tables:
        selection_study.run_study(args.jobs)
    if "sweep" in args.tables:
        sweep_study.run_sweep(args.jobs)
    if "luck" in args.tables:
        luck_study.run_luck(args.jobs)


if __name__ == "__main__":
    main()
