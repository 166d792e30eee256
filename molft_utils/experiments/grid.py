"""The grid: selection of the training data x fine-tuning method x seed, every cell run once.

A cell's model and its errors are stages (:mod:`molft_utils.experiments.stages`): each is written in one step when it is
done, and loaded from then on. When a process is killed, only the cell that was running is unfinished, and it resumes
from its last epoch. Cells run through joblib, so ``joblib.parallel_config("dask")`` spreads them over machines that
share a ``MOLFT_STAGES`` folder. With several GPUs, ``accelerate launch -m molft_utils.experiments.grid`` gives each GPU
its own share of the cells.
"""

import argparse
import dataclasses
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display
from joblib import Parallel, delayed

from ..errors import SettingsError
from ..profiles import EVERY_METHOD, METHODS, Settings, settings
from . import pipeline, rules, selection, stages
from .grading import Graded, graded

#: Selections of the report's Table 3, and one that is told which labels are wrong -> the rule
#: (:func:`~molft_utils.experiments.rules.training_table`).
SELECTIONS = {"none": "all", "influence": "top 100", "ts-dshapley": "ts-dshapley", "oracle": "oracle"}
REPORTED = ("none", "influence", "ts-dshapley")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    selection: str
    method: str
    seed: int

    @property
    def key(self) -> dict:
        """The cell as the first columns of its row."""
        return dataclasses.asdict(self)


def run_grid(
    settings: Settings,
    selections: Sequence[str] = REPORTED,
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] = (0,),
    n_jobs: int = 1,
    secondary: pd.DataFrame | None = None,
    live: bool = False,
) -> pd.DataFrame:
    """Run all cells, or load those that are done, and return one row per cell.

    Parameters
    ----------
    settings
        What all cells share; each takes its own seed, and the learning rate of its method.
    selections, methods, seeds
        The grid has a cell for each combination.
    n_jobs
        Number of cells that run at the same time (joblib); the workers share the cores.
    secondary
        A secondary table instead of the repository's.
    live
        Show the table while it grows (in a notebook).

    Returns
    -------
    DataFrame
        ``selection, method, seed``, the row of :func:`~molft_utils.experiments.grading.graded`, and ``reused``.

    Raises
    ------
    SettingsError
        For an unknown selection or method.
    """
    _require_known(selections, SELECTIONS)
    _require_known(methods, EVERY_METHOD)
    secondary = selection.secondary_table(settings) if secondary is None else secondary
    # A selection is made once, here, for all the cells that train on it.
    training_tables = {
        (name, seed): rules.training_table(settings.replace(seed=seed), secondary, SELECTIONS[name])
        for seed in seeds
        for name in selections
    }
    cells = [Cell(name, method, seed) for seed in seeds for name in selections for method in methods]
    folder = stages.current_folder()
    jobs = (delayed(run_cell)(settings, cell, training_tables[cell.selection, cell.seed], folder) for cell in cells)
    rows: list[dict] = []
    handle = display(pd.DataFrame(), display_id=True) if live else None
    for row in Parallel(n_jobs, return_as="generator")(jobs):
        rows.append(row)
        if handle is not None:
            handle.update(summary(pd.DataFrame(rows)))
    return pd.DataFrame(rows)


def _require_known(names: Iterable[str], known: Collection[str]) -> None:
    if unknown := sorted(set(names) - set(known)):
        raise SettingsError(f"unknown {', '.join(unknown)}; choose from {', '.join(known)}")


def run_cell(settings: Settings, cell: Cell, train: pd.DataFrame, folder: Path | None = None) -> dict:
    """The row of one cell, computed unless it is on disk.

    Parameters
    ----------
    settings
        The grid's; the seed is replaced by the cell's.
    cell
        Which cell.
    train
        The training table that the cell's selection gives.
    folder
        Where results are kept. A worker process does not know where its caller keeps them, so it is told.
    """
    with stages.in_folder(folder or stages.current_folder()):
        result = grade_cell(settings.replace(seed=cell.seed), cell, train)
    return {**cell.key, **result.row, "reused": result.reused}


def grade_cell(settings: Settings, cell: Cell, train: pd.DataFrame) -> Graded:
    """Errors, costs and test predictions of one cell, with the seed of the settings.

    The model of the last epoch is graded: where validation molecules have chosen the data, they choose no epoch.
    """
    return graded(pipeline.after_mlm(settings, train, cell.method, early_stopping=False), settings)


def predictions_of(settings: Settings, cell: Cell, secondary: pd.DataFrame | None = None) -> np.ndarray:
    """Test predictions [n] of a cell in logD; the cell is run unless it is on disk. ``secondary`` as in
    :func:`run_grid`."""
    settings = settings.replace(seed=cell.seed)
    secondary = selection.secondary_table(settings) if secondary is None else secondary
    train = rules.training_table(settings, secondary, SELECTIONS[cell.selection])
    return grade_cell(settings, cell, train).predictions


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Test RMSE (logD) by selection and method: the mean over seeds."""
    order = [name for name in SELECTIONS if name in set(table["selection"])]
    wide = table.pivot_table(index="selection", columns="method", values="rmse", aggfunc="mean")
    return (
        wide.reindex(index=order, columns=[name for name in EVERY_METHOD if name in wide])
        .round(3)
        .rename_axis("test RMSE / logD")
    )


def _share_of_this_process() -> tuple[int, int]:
    """This process's rank, and how many processes ``accelerate launch`` started; each has its own GPU and cells."""
    rank, number = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if number > 1:
        local = int(os.environ.get("LOCAL_RANK", 0))
        allowed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = allowed[local] if local < len(allowed) and allowed[local] else str(local)
        for name in [n for n in os.environ if n in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")]:
            del os.environ[name]  # else the Trainer would join the processes to train one model
    return rank, number


def main() -> None:
    """Run the grid from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile")
    parser.add_argument("--selections", nargs="+", default=list(REPORTED))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    rank, number = _share_of_this_process()
    pairs = [(name, method) for name in args.selections for method in args.methods]
    for name, method in pairs[rank::number] if number > 1 else []:
        run_grid(settings(args.profile), [name], [method], args.seeds)
    if number == 1:
        table = run_grid(settings(args.profile), args.selections, args.methods, args.seeds, args.jobs)
        print(table.to_string(index=False))


if __name__ == "__main__":
    main()
