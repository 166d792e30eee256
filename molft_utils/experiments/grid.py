"""The grid: selection of the training data x fine-tuning method x seed, every cell run once.

A cell is a stage (:mod:`molft_utils.experiments.stages`): its result is written in one step when it is done, and found again ever
after. A process that is killed loses at most the cell under way, which goes on from its last epoch. Cells run through
joblib, so ``joblib.parallel_config("dask")`` spreads them over machines with a common ``MOLFT_STAGES`` folder; with
several GPUs, ``accelerate launch -m molft_utils.experiments.grid`` gives each its own share of the cells.
"""

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display
from joblib import Parallel, delayed

from ..data import table_hash
from ..errors import DataError, SettingsError
from ..evaluation import scores
from ..files import file_hash, write_atomically
from ..peft_methods import apply_method, learning_rate, trainable
from ..profiles import ADAPTERS, INFLUENCE, METHODS, SHAPLEY, Settings, settings
from ..training import predict
from . import pipeline, selection, stages

#: Selections of the report's Table 3 -> how the training table is made from settings and secondary set.
SELECTIONS = {
    "none": lambda cfg, extra: selection.with_secondary(cfg, extra),
    "influence": lambda cfg, extra: selection.with_secondary(
        cfg, selection.choose(selection.influence(cfg, extra).table, "top 100")
    ),
    "ts-dshapley": lambda cfg, extra: selection.shapley(cfg, extra).kept(),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    selection: str
    method: str
    seed: int

    @property
    def key(self) -> dict:
        return dataclasses.asdict(self)


def run_grid(
    settings: Settings,
    selections: Sequence[str] = ("none", "influence", "ts-dshapley"),
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] = (0,),
    n_jobs: int = 1,
    secondary: pd.DataFrame | None = None,
    live: bool = False,
) -> pd.DataFrame:
    """Run all cells, or load those that are done, and return a row a cell.

    Parameters
    ----------
    n_jobs
        Cells at a time (joblib). Each worker takes its share of the cores.
    secondary
        A secondary table instead of the repository's.
    live
        Show the table while it grows (in a notebook).

    Returns
    -------
    DataFrame
        ``selection, method, seed``; ``rmse``, its 95 % interval over test molecules ``rmse_low`` to ``rmse_high``, and
        ``validation_rmse`` (logD); ``n_train``, ``trained`` and ``total`` parameters, ``learning_rate``, ``epochs``,
        ``seconds`` of training and ``peak_memory`` (MB) when it was trained, and ``reused``.

    Raises
    ------
    SettingsError
        For an unknown selection or method.
    """
    for wanted, known in ((selections, SELECTIONS), (methods, METHODS)):
        if unknown := sorted(set(wanted) - set(known)):
            raise SettingsError(f"unknown {', '.join(unknown)}; choose from {', '.join(known)}")
    extra = selection.secondary_table(settings) if secondary is None else secondary
    cells = [Cell(s, m, seed) for seed in seeds for s in selections for m in methods]
    for seed in seeds:  # what many cells share is made before they are spread over workers
        for name in selections:
            SELECTIONS[name](settings.replace(seed=seed), extra)
    rows, handle = {}, display(pd.DataFrame(), display_id=True) if live else None
    jobs = (delayed(run_cell)(settings, cell, extra) for cell in cells)
    for cell, row in zip(cells, Parallel(n_jobs, return_as="generator")(jobs), strict=True):
        rows[cell] = row
        if handle is not None:
            handle.update(summary(pd.DataFrame(rows.values())))
    return pd.DataFrame([rows[cell] for cell in cells])


def run_cell(settings: Settings, cell: Cell, secondary: pd.DataFrame) -> dict:
    """The row of one cell, computed unless it is on disk; a damaged result is reported and computed again."""
    cfg = settings.replace(seed=cell.seed)
    place, inputs = _place_of(cfg, cell, secondary)

    def compute(folder: Path) -> dict:
        fit = pipeline.after_mlm(cfg, SELECTIONS[cell.selection](cfg, secondary), cell.method)
        parts = pipeline.tables(cfg)
        predictions = predict(fit.model, parts.test["smiles"])
        found = scores(parts.test["label"], predictions)
        errors = {
            "rmse": found.rmse,
            "rmse_low": found.interval[0],
            "rmse_high": found.interval[1],
            "validation_rmse": scores(parts.validation["label"], predict(fit.model, parts.validation["smiles"])).rmse,
        }
        write_atomically(folder / "predictions.csv", pd.DataFrame({"prediction": predictions}).to_csv(index=False))
        trained, total = trainable(apply_method(fit.model, cell.method, cfg))
        return {
            **cell.key,
            **errors,
            "n_train": fit.n_train,
            "trained": trained,
            "total": total,
            "learning_rate": learning_rate(cell.method, cfg),
            "epochs": len(fit.history),
            "seconds": fit.seconds,
            "peak_memory": fit.peak_memory,
            "predictions": file_hash(folder / "predictions.csv"),
        }

    _tell_what_changed(cell, inputs, place)
    done = stages.run_stage("cell", inputs, compute, is_whole=_is_whole)
    row = {name: value for name, value in done.record.items() if name not in ("inputs", "stage_seconds", "predictions")}
    return {**row, "reused": done.reused}


def cell_inputs(cfg: Settings, cell: Cell) -> dict:
    """Everything a cell depends on, for its fingerprint and for the results of record."""
    used = {"influence": INFLUENCE, "ts-dshapley": SHAPLEY, "none": ()}[cell.selection]
    adapter = ADAPTERS if cell.method == "lora" else ()
    rate = {"learning_rate": learning_rate(cell.method, cfg)}
    if used and cell.method != "full":  # the model that selects is trained in full
        rate["selection_learning_rate"] = cfg.learning_rate
    return {**pipeline.describe(cfg), **cfg.pick(*used, *adapter), **cell.key, **rate}


def predictions_of(settings: Settings, cell: Cell, secondary: pd.DataFrame | None = None) -> np.ndarray:
    """Test predictions of a finished cell; ``secondary`` as in :func:`run_grid`."""
    secondary = selection.secondary_table(settings) if secondary is None else secondary
    place, _ = _place_of(settings.replace(seed=cell.seed), cell, secondary)
    path = place / "predictions.csv"
    if not path.exists():
        raise DataError(f"the cell {cell.key} has not been run; run_grid makes it")
    return pd.read_csv(path)["prediction"].to_numpy()


def _place_of(cfg: Settings, cell: Cell, secondary: pd.DataFrame) -> tuple[Path, dict]:
    inputs = {**cell_inputs(cfg, cell), "secondary": table_hash(secondary)}
    return stages.place("cell", inputs), inputs


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Test RMSE by selection and method: the mean over seeds."""
    order = [name for name in SELECTIONS if name in set(table["selection"])]
    wide = table.pivot_table(index="selection", columns="method", values="rmse", aggfunc="mean")
    return wide.reindex(index=order, columns=[m for m in METHODS if m in wide]).round(3).rename_axis("test RMSE / logD")


def _is_whole(folder: Path, record: dict) -> bool:
    """Whether the predictions are those that were written."""
    path = folder / "predictions.csv"
    return path.exists() and file_hash(path) == record.get("predictions")


def _tell_what_changed(cell: Cell, inputs: dict, place: Path) -> None:
    """Say why a cell is computed although an earlier one of the same name is there."""
    if place.exists():
        return
    for path in place.parent.glob("cell-*/record.json"):
        try:
            known = json.loads(path.read_text(encoding="utf-8"))["inputs"]
        except (OSError, KeyError, json.JSONDecodeError):
            continue
        if all(known.get(name) == value for name, value in cell.key.items()):
            changed = sorted(name for name in {*known, *inputs} if known.get(name) != inputs.get(name))
            print(
                f"{cell.selection}, {cell.method}, seed {cell.seed}: a new row, as these changed: {', '.join(changed)}"
            )
            return


def _share_of_this_process() -> tuple[int, int]:
    """(rank, number) of the processes that ``accelerate launch`` started; each works on its own GPU and cells."""
    rank, number = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if number > 1:
        local = int(os.environ.get("LOCAL_RANK", 0))
        allowed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = allowed[local] if local < len(allowed) and allowed[local] else str(local)
        for name in [n for n in os.environ if n in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")]:
            del os.environ[name]  # or the Trainer would join the processes to train one model
    return rank, number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile")
    parser.add_argument("--selections", nargs="+", default=list(SELECTIONS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    rank, number = _share_of_this_process()
    shares = [(s, m) for s in args.selections for m in args.methods]
    for name, method in shares[rank::number] if number > 1 else []:
        run_grid(settings(args.profile), [name], [method], args.seeds)
    if number == 1:
        table = run_grid(settings(args.profile), args.selections, args.methods, args.seeds, args.jobs)
        print(table.to_string(index=False))


if __name__ == "__main__":
    main()
