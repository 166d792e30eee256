"""The results of record: ``python -m molft_utils.making.results``, or ``make results``.

Every run of a :class:`Variant` is a row of ``data/results/<table>.csv``: errors, seconds, the commit of the code, and
as ``inputs`` all that it depended on. Its test predictions are a column of ``<table>_predictions.csv``, from which
paired intervals are computed. A run whose inputs have not changed is never repeated. If a setting, data file,
checkpoint, library or stage changes, a message says so and the row is replaced (:mod:`molft_utils.evaluation.records`).
"""

import argparse
import dataclasses
from collections.abc import Callable

from joblib import Parallel, delayed

from ..evaluation import records
from ..experiments import commit, graded, grid, inputs_of, pipeline, rules, selection
from ..files import DATA_FOLDER, file_hash
from ..profiles import METHODS, Settings, settings
from . import selection_study, sweep_study
from .influence_study import run_ensemble, run_hessian, run_study
from .label_study import MODELS, SIZES, run_labels
from .random_weights import random_mini

SEEDS = (0, 1, 2, 3, 4)


@dataclasses.dataclass(frozen=True)
class Variant:
    """One line of a table: its description, its settings for a seed, how it is trained, and what it depends on."""

    description: str
    settings: Callable[[int], Settings]
    fit: Callable[[Settings], pipeline.StagedFit]
    inputs: Callable[[Settings], dict]


def class_settings(seed: int) -> Settings:
    """The class profile with a seed."""
    return settings("class", seed=seed)


def from_checkpoint(description: str, settings_of: Callable[[int], Settings]) -> Variant:
    """Fine-tuning on the training split, straight from a checkpoint; ``settings_of`` gives the settings for a seed."""
    return Variant(description, settings_of, pipeline.baseline, lambda cfg: inputs_of(cfg, pipeline.REGRESSION))


TABLE1 = {
    "baseline": from_checkpoint("class profile", class_settings),
    "after-mlm": Variant(
        "class profile, masked-language modelling first",
        class_settings,
        pipeline.after_mlm,
        lambda cfg: inputs_of(cfg, pipeline.AFTER_MLM),
    ),
    "best": from_checkpoint(
        "best settings for the mini checkpoint", lambda seed: settings("best", checkpoint="mini", seed=seed)
    ),
    "random-weights": from_checkpoint(
        "class profile, no pretraining", lambda seed: settings("class", checkpoint=random_mini(seed), seed=seed)
    ),
    "descriptors": from_checkpoint(
        "class profile, mini-descriptors", lambda seed: settings("class", checkpoint="mini-descriptors", seed=seed)
    ),
    "descriptors-best": from_checkpoint(
        "best settings, mini-descriptors", lambda seed: settings("best", checkpoint="mini-descriptors", seed=seed)
    ),
}


def selected(rule: str, target: str = "validation", method: str = "full") -> Variant:
    """Fine-tuning by a method on the table of a rule (:func:`~molft_utils.experiments.rules.training_table`).

    The model of the last epoch is kept: where validation molecules have chosen the data, they choose no epoch.
    """

    def fit(cfg: Settings) -> pipeline.StagedFit:
        train = rules.training_table(cfg, selection.secondary_table(cfg), rule, target)
        return pipeline.after_mlm(cfg, train, method, early_stopping=False)

    def inputs(cfg: Settings) -> dict:
        scoring = rules.stages_of(rule)
        # The model that selects is fully fine-tuned, with the learning rate of that method.
        rate = {"selection_learning_rate": cfg.regression.learning_rate} if scoring and method != "full" else {}
        leak = {"target": target} if target != "validation" else {}
        rest = {**rate, **leak, "rule": rule, "method": method, "early_stopping": False}
        secondary = {"secondary": file_hash(DATA_FOLDER / "secondary.csv")}
        return {**inputs_of(cfg.of_method(method), pipeline.fit_kind(method), *scoring), **rest, **secondary}

    leak = ", scored on the test labels: a leak" if target == "test" else ""
    by = "" if method == "full" else f", by {method}"
    name = rule if rule == "train alone" else f"train + secondary ({rule}{leak})"
    return Variant(name + by, class_settings, fit, inputs)


TABLE2 = {rule: selected(rule) for rule in rules.ADDING} | {
    f"{rule}, test target": selected(rule, "test") for rule in ("all positive", "top 100")
}

SHAPLEY_TABLE = {rule: selected(rule) for rule in ("all", *rules.REMOVING)}

GRID = {
    f"{name}/{method}": selected(rule, method=method) for name, rule in grid.SELECTIONS.items() for method in METHODS
}

TABLES: dict[str, dict[str, Variant]] = {"table1": TABLE1, "table2": TABLE2, "shapley": SHAPLEY_TABLE, "grid": GRID}


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
    others = ["influence", "labels", "selection", "sweep"]
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


if __name__ == "__main__":
    main()
