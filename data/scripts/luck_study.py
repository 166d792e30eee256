"""What one seed can tell: two lines of Table 2 with thirty seeds each, in ``data/results/luck.csv``.

``make results``, or ``python -m molft_utils.making.luck_study``. Full fine-tuning on the training split alone, and with
the secondary set added: a class of thirty, one seed a student.
"""

import argparse
import itertools

from joblib import Parallel, delayed

from ..evaluation import records
from ..experiments import commit, graded
from .variants import TABLE2

CELLS = ("train alone", "all")
SEEDS = range(30)


def run_one(cell: str, seed: int) -> None:
    """Compute one row, unless it is on record with the same inputs."""
    variant = TABLE2[cell]
    cfg = variant.settings(seed)
    key, inputs = {"cell": cell, "seed": seed}, variant.inputs(cfg)
    if records.is_recorded("luck", key, inputs):
        return
    row = graded(variant.fit(cfg), cfg).row
    kept = {name: row[name] for name in ("rmse", "validation_rmse", "seconds")}
    records.add("luck", key, {**kept, "commit": commit()}, inputs)


def run_luck(n_jobs: int) -> None:
    """Both cells with all seeds."""
    Parallel(n_jobs=n_jobs)(delayed(run_one)(*run) for run in itertools.product(CELLS, SEEDS))


def main() -> None:
    """Make the table from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    run_luck(parser.parse_args().jobs)


if __name__ == "__main__":
    main()
