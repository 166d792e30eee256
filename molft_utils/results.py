"""The results of record: ``python -m molft_utils.results``, or ``make results``.

Every run is a row of ``data/results/<table>.csv`` (settings, seed, hashes, version, seconds, errors), and its test
predictions a column of ``<table>_predictions.csv``, from which paired intervals are computed. A run whose inputs
have not changed is never repeated; a changed setting, data file or checkpoint replaces its row and says so.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from . import pipeline, stages
from .checkpoints import MINI_FOLDER
from .data import DATA_FOLDER
from .errors import DataError
from .evaluate import Difference, evaluate, paired_difference, scores
from .molformer import MolformerConfig, MolformerForMaskedLM
from .predict import predict
from .settings import Settings, settings

RESULTS = DATA_FOLDER / "results"
SEEDS = (0, 1, 2)


def random_mini(seed: int) -> str:
    """A folder with the mini architecture and random weights: what pretraining is worth is measured against it."""

    def compute(folder: Path) -> dict:
        torch.manual_seed(seed)
        MolformerForMaskedLM(MolformerConfig.from_pretrained(MINI_FOLDER)).save_pretrained(folder)
        return {}

    return str(stages.run_stage("random-mini", {"seed": seed, "weights": "random"}, compute).folder)


#: Variant -> (what it is, how its fit is made from a seed).
TABLE1: dict[str, tuple[str, Callable[[int], tuple[Settings, Callable]]]] = {
    "baseline": ("class profile", lambda seed: (settings("class", seed=seed), pipeline.baseline)),
    "after-mlm": (
        "class profile, masked-language modelling first",
        lambda seed: (settings("class", seed=seed), pipeline.after_mlm),
    ),
    "best": (
        "best settings for the mini checkpoint",
        lambda seed: (settings("best", checkpoint="mini", seed=seed), pipeline.baseline),
    ),
    "random-weights": (
        "class profile, no pretraining",
        lambda seed: (settings("class", checkpoint=random_mini(seed), seed=seed), pipeline.baseline),
    ),
}


def run_table1(variants: list[str], seeds: list[int]) -> None:
    """Compute the missing rows of Table 1, one after the other."""
    for variant in variants:
        description, make = TABLE1[variant]
        for seed in seeds:
            cfg, fit_with = make(seed)
            inputs = pipeline.describe(cfg)
            if _is_recorded("table1", variant, seed, inputs):
                print(f"{variant}, seed {seed}: on record", flush=True)
                continue
            fit = fit_with(cfg)
            parts = pipeline.tables(cfg)
            predictions = predict(fit.model, parts.test["smiles"])
            row = {
                "variant": variant,
                "description": description,
                "seed": seed,
                "rmse": scores(parts.test["label"], predictions).rmse,
                "validation_rmse": evaluate(fit.model, parts.validation).rmse,
                "epochs": len(fit.history),
                "seconds": round(fit.seconds, 1),
                "inputs": json.dumps(inputs, sort_keys=True),
            }
            _add("table1", row, predictions, parts.test)
            print(f"{variant}, seed {seed}: test RMSE {row['rmse']:.3f}, {row['seconds']:.0f} s", flush=True)


def _is_recorded(table: str, variant: str, seed: int, inputs: dict) -> bool:
    path = RESULTS / f"{table}.csv"
    if not path.exists():
        return False
    rows = pd.read_csv(path).query("variant == @variant and seed == @seed")
    if rows.empty:
        return False
    known = json.loads(rows["inputs"].iloc[0])
    changed = sorted(key for key in {*known, *inputs} if known.get(key) != inputs.get(key))
    if changed:
        print(
            f"{variant}, seed {seed}: {', '.join(changed)} changed since it was recorded; running it again", flush=True
        )
    return not changed


def _add(table: str, row: dict, predictions: np.ndarray, test: pd.DataFrame) -> None:
    with FileLock(RESULTS / f".{table}.lock"):  # two processes may work on one table
        path, columns = RESULTS / f"{table}.csv", RESULTS / f"{table}_predictions.csv"
        rows = (
            pd.read_csv(path).query("not (variant == @row['variant'] and seed == @row['seed'])")
            if path.exists()
            else None
        )
        rows = pd.concat([rows, pd.DataFrame([row])]).sort_values(["variant", "seed"])
        wide = pd.read_csv(columns) if columns.exists() else test[["smiles", "label"]].reset_index(drop=True)
        wide[f"{row['variant']}/{row['seed']}"] = np.round(predictions, 4)
        stages.write_atomically(columns, wide.to_csv(index=False))
        stages.write_atomically(path, rows.to_csv(index=False, float_format="%.4f"))


def record(table: str) -> pd.DataFrame:
    """Results of record, a row a variant: mean and standard deviation of the test RMSE over seeds, mean seconds."""
    path = RESULTS / f"{table}.csv"
    if not path.exists():
        raise DataError(f"{path.name} is not in data/results; `make results` makes it")
    rows = pd.read_csv(path)
    summary = rows.groupby(["variant", "description"], sort=False).agg(
        seeds=("seed", "size"), mean=("rmse", "mean"), sd=("rmse", "std"), seconds=("seconds", "mean")
    )
    return summary.reset_index().set_index("variant").round({"mean": 3, "sd": 3, "seconds": 0})


def record_difference(table: str, a: str, b: str) -> Difference:
    """Paired difference of two variants of a table, over test molecules and seeds."""
    wide = pd.read_csv(RESULTS / f"{table}_predictions.csv")
    runs = {name: wide.filter(regex=f"^{name}/").to_numpy().T for name in (a, b)}
    return paired_difference(wide["label"], runs[a], runs[b])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", default=list(TABLE1), choices=list(TABLE1))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    args = parser.parse_args()
    run_table1(args.variants, args.seeds)


if __name__ == "__main__":
    main()
