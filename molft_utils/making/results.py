"""The results of record: ``python -m molft_utils.making.results``, or ``make results``.

Every run of a :class:`Variant` is a row of ``data/results/<table>.csv`` (errors, seconds, and as ``inputs`` settings,
seed, hashes, version), and its test predictions a column of ``<table>_predictions.csv``, from which paired intervals
are computed. A run whose inputs have not changed is never repeated; a changed setting, data file or checkpoint
replaces its row and says so (:mod:`molft_utils.evaluation.records`).
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from joblib import Parallel, delayed

from ..evaluation import evaluate, records, scores
from ..experiments import grid, pipeline, selection, stages
from ..files import DATA_FOLDER, MINI_FOLDER, file_hash
from ..molformer import MolformerConfig, MolformerForMaskedLM
from ..profiles import INFLUENCE, METHODS, SHAPLEY, Settings, settings
from ..training import predict
from .influence_study import SOLVERS, run_study

SEEDS = (0, 1, 2)


@dataclasses.dataclass(frozen=True)
class Variant:
    """One line of a table: what it is, its settings for a seed, how it is trained, and on what else that depends."""

    description: str
    settings: Callable[[int], Settings]
    fit: Callable[[Settings], pipeline.StagedFit]
    inputs: Callable[[Settings], dict] = lambda cfg: {}


def random_mini(seed: int) -> str:
    """A folder with the mini architecture and random weights: what pretraining is worth is measured against it."""

    def compute(folder: Path) -> dict:
        torch.manual_seed(seed)
        MolformerForMaskedLM(MolformerConfig.from_pretrained(MINI_FOLDER)).save_pretrained(folder)
        return {}

    return str(stages.run_stage("random-mini", {"seed": seed, "weights": "random"}, compute).folder)


def class_settings(seed: int) -> Settings:
    return settings("class", seed=seed)


TABLE1 = {
    "baseline": Variant("class profile", class_settings, pipeline.baseline),
    "after-mlm": Variant("class profile, masked-language modelling first", class_settings, pipeline.after_mlm),
    "best": Variant(
        "best settings for the mini checkpoint",
        lambda seed: settings("best", checkpoint="mini", seed=seed),
        pipeline.baseline,
    ),
    "random-weights": Variant(
        "class profile, no pretraining",
        lambda seed: settings("class", checkpoint=random_mini(seed), seed=seed),
        pipeline.baseline,
    ),
}


def with_chosen(rule: str, target: str = "validation") -> Variant:
    """Fine-tuning on the training split and what a rule keeps of the secondary set."""

    def fit(cfg: Settings) -> pipeline.StagedFit:
        secondary = selection.secondary_table(cfg)
        scored = secondary if rule in ("none", "all") else selection.influence(cfg, secondary, target).table
        return pipeline.after_mlm(cfg, selection.with_secondary(cfg, selection.choose(scored, rule, cfg.seed)))

    def inputs(cfg: Settings) -> dict:
        used = {} if rule in ("none", "all") else {**cfg.pick(*INFLUENCE), "target": target}
        return {**used, "rule": rule, "secondary": file_hash(DATA_FOLDER / "secondary.csv")}

    name = "train alone" if rule == "none" else f"train + secondary ({rule})"
    leak = ", scored on the test labels: a leak" if target == "test" else ""
    return Variant(name + leak, class_settings, fit, inputs)


TABLE2 = {rule: with_chosen(rule) for rule in selection.RULES} | {
    f"{rule}, test target": with_chosen(rule, "test") for rule in ("all positive", "top 100")
}


def by_value(kept: str) -> Variant:
    """Fine-tuning on what TS-DShapley keeps, on controls that drop as many others, or on all."""

    def fit(cfg: Settings) -> pipeline.StagedFit:
        secondary = selection.secondary_table(cfg)
        if kept == "all":
            return pipeline.after_mlm(cfg, selection.with_secondary(cfg, secondary))
        valued = selection.shapley(cfg, secondary)
        tables = {
            "ts-dshapley": valued.kept(),
            "random removal": valued.kept_at_random(cfg.seed),
            "highest removed": valued.kept_without_highest(),
        }
        return pipeline.after_mlm(cfg, tables[kept])

    def inputs(cfg: Settings) -> dict:
        used = {} if kept == "all" else cfg.pick(*SHAPLEY)
        return {**used, "kept": kept, "secondary": file_hash(DATA_FOLDER / "secondary.csv")}

    return Variant(f"train + secondary, {kept}", class_settings, fit, inputs)


SHAPLEY_TABLE = {kept: by_value(kept) for kept in ("all", "ts-dshapley", "random removal", "highest removed")}


def of_grid(name: str, method: str) -> Variant:
    """One cell of the grid."""

    def fit(cfg: Settings) -> pipeline.StagedFit:
        return pipeline.after_mlm(cfg, grid.SELECTIONS[name](cfg, selection.secondary_table(cfg)), method)

    def inputs(cfg: Settings) -> dict:
        cell = grid.Cell(name, method, cfg.seed)
        return {**grid.cell_inputs(cfg, cell), "secondary": file_hash(DATA_FOLDER / "secondary.csv")}

    return Variant(f"selection {name}, method {method}", class_settings, fit, inputs)


GRID = {f"{name}/{method}": of_grid(name, method) for name in grid.SELECTIONS for method in METHODS}


TABLES: dict[str, dict[str, Variant]] = {"table1": TABLE1, "table2": TABLE2, "shapley": SHAPLEY_TABLE, "grid": GRID}


def run_row(table: str, name: str, seed: int) -> None:
    """Compute one row of a table, unless it is on record."""
    variant = TABLES[table][name]
    cfg = variant.settings(seed)
    inputs = {**pipeline.describe(cfg), **variant.inputs(cfg)}
    key, column = {"variant": name, "seed": seed}, f"{name}/{seed}"
    if records.is_recorded(table, key, inputs, column):
        return
    fit = variant.fit(cfg)
    parts = pipeline.tables(cfg)
    predictions = predict(fit.model, parts.test["smiles"])
    row = {
        "description": variant.description,
        "rmse": scores(parts.test["label"], predictions).rmse,
        "validation_rmse": evaluate(fit.model, parts.validation).rmse,
        "n_train": fit.n_train,
        "epochs": len(fit.history),
        "seconds": round(fit.seconds, 1),
    }
    test = parts.test[["smiles", "label"]].assign(**{column: predictions})
    records.add(table, key, row, inputs, test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--variants", nargs="+", help="only these lines of the tables")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time; two cores do best with two")
    args = parser.parse_args()
    rows = [
        (table, name, seed)
        for table in args.tables
        for seed in args.seeds
        for name in TABLES[table]
        if not args.variants or name in args.variants
    ]
    Parallel(n_jobs=args.jobs)(delayed(run_row)(*row) for row in rows)
    if "table2" in args.tables and not args.variants:
        studies = [(seed, parameters) for parameters in SOLVERS for seed in args.seeds]
        Parallel(n_jobs=args.jobs)(delayed(run_study)(*which) for which in studies)


if __name__ == "__main__":
    main()
