"""What the tables of record compare: each line's settings, training, and all that it depends on."""

import dataclasses
from collections.abc import Callable

from ..evaluation import best_rate
from ..experiments import grid, inputs_of, pipeline, rules, selection
from ..files import DATA_FOLDER, file_hash
from ..profiles import EVERY_METHOD, Settings, settings
from . import sweep_study
from .random_weights import random_mini


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
    f"{name}/{method}": selected(rule, method=method)
    for name, rule in grid.SELECTIONS.items()
    for method in EVERY_METHOD
}


def at_best_rate(name: str, epochs: int) -> Variant:
    """A method of the sweep on the training split, with the rate that is best on validation for so many epochs."""
    swept = sweep_study.SWEPT[name]

    def settings_of(seed: int) -> Settings:
        return swept.settings(best_rate(name, epochs), epochs, seed)

    def inputs(cfg: Settings) -> dict:
        return {**swept.inputs(cfg), "early_stopping": False}

    return Variant(f"{name}, {epochs} epochs, best rate", settings_of, swept.fit, inputs)


FAIR = {
    f"{name}, {epochs} epochs": at_best_rate(name, epochs)
    for epochs in sweep_study.EPOCHS
    for name in sweep_study.SWEPT
}

TABLES: dict[str, dict[str, Variant]] = {
    "table1": TABLE1,
    "table2": TABLE2,
    "shapley": SHAPLEY_TABLE,
    "grid": GRID,
    "fair": FAIR,
}
