"""The results of record: ``python -m molft_utils.making.results``, or ``make results``.

Every run of a :class:`~molft_utils.making.variants.Variant` is a row of ``data/results/<table>.csv``: errors, seconds,
the commit of the code, and as ``inputs`` all that it depended on. Its test predictions are a column of
``<table>_predictions.csv``, from which paired intervals are computed. A run whose inputs have not changed is never
repeated. If a setting, data file, checkpoint, library or stage changes, a message says so and the row is replaced
(:mod:`molft_utils.evaluation.records`).
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

from joblib import Parallel, delayed

from ..evaluation import records
from ..experiments import commit, graded, pipeline
from ..profiles import EVERY_METHOD
from . import luck_study, selection_study, sweep_study
from .influence_study import run_ensemble, run_hessian, run_study
from .label_study import METHOD_SEEDS, METHOD_SIZES, MODELS, SIZES, run_labels, run_method
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


def run_rows(table: str, only: Sequence[str], seeds: Sequence[int], jobs: int) -> None:
    """Compute the rows of a table of variants; ``only`` names some of them, or none for all."""
    names = [name for name in TABLES[table] if not only or name in only]
    _each(run_row, [(table, name, seed) for seed in seeds for name in names], jobs)


def run_influence(only: Sequence[str], seeds: Sequence[int], jobs: int) -> None:
    """Grade influence scores by the bank: each seed's model, their mean, the Hessian on a few molecules."""
    _each(run_study, [(seed,) for seed in seeds], jobs)
    run_ensemble(seeds)
    run_hessian(seeds[0])


def run_all_labels(only: Sequence[str], seeds: Sequence[int], jobs: int) -> None:
    """What labels are worth: models, then fine-tuning methods."""
    _each(run_labels, [(model, n, seed) for seed in seeds for n in SIZES for model in only or MODELS], jobs)
    methods = [method for method in EVERY_METHOD if not only or method in only]
    some = [seed for seed in seeds if seed in METHOD_SEEDS]
    _each(run_method, [(method, n, seed) for seed in some for n in METHOD_SIZES for method in methods], jobs)


def _each(compute: Callable[..., None], runs: Sequence[tuple], jobs: int) -> None:
    Parallel(n_jobs=jobs)(delayed(compute)(*run) for run in runs)


#: Name on the command line -> what makes it, from the variants named, the seeds, and the number of jobs. In this order:
#: the table ``fair`` takes its learning rates from the sweep.
MAKERS: dict[str, Callable[[Sequence[str], Sequence[int], int], None]] = {
    "sweep": lambda only, seeds, jobs: sweep_study.run_sweep(jobs),
    **{table: partial(run_rows, table) for table in TABLES},
    "influence": run_influence,
    "labels": run_all_labels,
    "selection": lambda only, seeds, jobs: selection_study.run_study(jobs),
    "luck": lambda only, seeds, jobs: luck_study.run_luck(jobs),
}


def main() -> None:
    """Make the tables from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=list(MAKERS), choices=list(MAKERS))
    parser.add_argument("--variants", nargs="+", default=[], help="only these lines of the tables")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time; two cores do best with two")
    args = parser.parse_args()
    for table in MAKERS:
        if table in args.tables:
            MAKERS[table](args.variants, args.seeds, args.jobs)


if __name__ == "__main__":
    main()
