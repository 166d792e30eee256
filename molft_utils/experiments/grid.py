"""The grid: selection of the training data x fine-tuning method x seed, every cell run once.

A cell's model and its errors are cached results (:mod:`molft_utils.cache`): each is written in one step when it is
done, and loaded from then on. When a process is killed, only the cell that was running is unfinished, and it resumes
from its last epoch.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pandas as pd
from IPython.display import display
from joblib import Parallel, delayed

from ..errors import SettingsError
from ..files import stages_folder
from ..settings import EVERY_METHOD, METHODS, Settings
from . import pipeline, rules, selection

#: Selections by the names of the report's Table 3 -> the line of :data:`molft_utils.experiments.rules.SELECTIONS`. The
#: grid takes any other line by its own name.
REPORTED = {"none": "all", "influence": "top 100", "ts-dshapley": "ts-dshapley"}


def run_grid(
    settings: Settings,
    selections: Sequence[str] = tuple(REPORTED),
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] = (0,),
    n_jobs: int = 1,
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
    live
        Show the table while it grows (in a notebook).

    Returns
    -------
    DataFrame
        ``selection, method, seed``, the row of :func:`~molft_utils.experiments.pipeline.graded`, and ``reused``.

    Raises
    ------
    SettingsError
        For an unknown selection or method.
    """
    _require_known(selections, {**REPORTED, **rules.SELECTIONS})
    _require_known(methods, EVERY_METHOD)
    secondary, folder, jobs = selection.secondary_table(settings), stages_folder(), []
    for seed in seeds:
        cfg = settings.replace(seed=seed)
        pipeline.mlm(cfg)  # here, as all cells start from it and the workers would wait
        for name in selections:
            train = rules.training_table(cfg, secondary, REPORTED.get(name, name))  # once, for all methods
            jobs += [delayed(run_cell)(cfg, name, method, train, folder) for method in methods]
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


def run_cell(settings: Settings, name: str, method: str, train: pd.DataFrame, folder: Path) -> dict:
    """The row of one cell, computed unless it is in the ``folder`` of results.

    The model of the last epoch is graded: where validation molecules have chosen the data, they choose no epoch.
    """
    os.environ["MOLFT_STAGES"] = str(folder)  # a worker keeps the environment in which it was started
    result = pipeline.graded(pipeline.after_mlm(settings, train, method, early_stopping=False), settings)
    return {"selection": name, "method": method, "seed": settings.seed, **result.row, "reused": result.reused}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Test RMSE by selection and method: the mean over seeds."""
    order = [name for name in dict.fromkeys((*REPORTED, *rules.SELECTIONS)) if name in set(table["selection"])]
    wide = table.pivot_table(index="selection", columns="method", values="rmse", aggfunc="mean")
    methods = [name for name in EVERY_METHOD if name in wide]
    return wide.reindex(index=order, columns=methods).round(3).rename_axis("test RMSE")
