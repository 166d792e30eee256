"""Scores of all pairs of one fine-tuned model, by whichever library, kept on disk; their rows in the table."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from molft_utils.cache import Kind, cached
from molft_utils.evaluation import lds, load_bank, over_models, shift_agreement
from molft_utils.experiments import pipeline
from molft_utils.files import RUNS_FOLDER
from molft_utils.settings import Settings, settings
from molft_utils.training import predict
from rows import Row
from studies import scored_model

FOLDER = RUNS_FOLDER / "peers"


@dataclasses.dataclass(frozen=True)
class Problem:
    """A scored model, what it was trained on, and the queries: validation molecules, then test molecules."""

    cfg: Settings
    fit: pipeline.TrainedModel
    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame

    @cached_property
    def queries(self) -> pd.DataFrame:
        return pd.concat([self.validation, self.test], ignore_index=True)

    @cached_property
    def query_residuals(self) -> np.ndarray:
        """Prediction minus label [n_queries], in standard deviations of the training labels."""
        predicted = predict(self.fit.model, self.queries["smiles"])
        return (predicted - self.queries["label"].to_numpy()) / self.fit.model.config.label_std

    def shifts(self, scores: np.ndarray) -> np.ndarray:
        """By how much each training molecule raises each query's prediction, in logD, from scores [n_queries, n_train].

        A rise of the prediction by d changes the squared error by 2 r d, and a score is -n times that change.
        """
        return -scores / (2 * len(self.train) * self.query_residuals[:, None]) * self.fit.model.config.label_std


def problem(seed: int) -> Problem:
    """The model of ``data/results/lds.csv`` with that seed."""
    cfg = settings("class", seed=seed)
    (fit, train), parts = scored_model(cfg), pipeline.tables(cfg)
    return Problem(cfg, fit, train, parts.validation, parts.test.reset_index(drop=True))


@dataclasses.dataclass(frozen=True)
class Scored:
    """Scores [n_queries, n_train] with one ``setting`` of a method, and the CPU seconds that they took."""

    values: np.ndarray
    setting: str
    seconds: float = 0.0

    @property
    def on_test(self) -> np.ndarray:
        return self.values[-len(load_bank().labels) :]


def kept(given: Problem, method: str, key: Mapping[str, Any], compute: Callable[[], Scored]) -> Scored:
    """The result of ``compute()``, found again on disk if it was computed before with the same key."""

    def write(folder: Path) -> dict:
        scored = compute()
        save_file({"values": scored.values.astype(np.float32)}, folder / "scores.safetensors")
        return {"setting": scored.setting, "seconds": scored.seconds}

    kind = Kind(f"peer-{method}", 1, (), after=(pipeline.AFTER_MLM,))
    found = cached(kind, None, {"model": given.fit.folder.name, **key}, write)
    values = load_file(found.folder / "scores.safetensors")["values"].astype(float)
    return Scored(values, found.record["setting"], found.record["seconds"])


def best_on_validation(settings: Any, scores: Callable[[Any], np.ndarray]) -> Any:
    """The setting whose scores, of the validation molecules first, have the largest LDS there."""
    bank = load_bank("validation")
    return max(settings, key=lambda setting: lds(scores(setting)[: len(bank.labels)], bank).value)


def with_setting(found: Mapping[str, np.ndarray], chosen: str | None = None, seconds: float = 0.0) -> Scored:
    """Of the scores by setting those with the chosen one; None takes the best on validation."""
    chosen = chosen or best_on_validation(found, found.__getitem__)
    return Scored(found[chosen], chosen, seconds)


def graded(library: str, method: str, found: Scored, chosen: str = "") -> list[Row]:
    """LDS of one model's scores on the test molecules with its interval, and the time for all pairs."""
    score = lds(found.on_test, load_bank())
    note = f"95 % bootstrap interval over queries and subsets; {len(score.per_query)} queries{chosen}"
    n_queries, n_train = found.values.shape
    return [
        Row("LDS, test molecules", library, method, score.value, *score.interval, "rank correlation", note),
        cost(f"CPU time, {n_queries:,} queries", library, method, found.seconds, f"for {n_train:,} scores each"),
    ]


def cost(case: str, library: str, method: str, seconds: float, note: str) -> Row:
    return Row(case, library, method, *[seconds / 60] * 3, "min", f"one thread, once; {note}")


def size_of_shifts(models: Sequence[Problem], library: str, method: str, found: Sequence[Scored]) -> list[Row]:
    """Correlation and slope of the real shifts of the test molecules' predictions on the strongest predicted ones."""
    bank, n = load_bank(), len(load_bank().labels)
    sizes = [shift_agreement(given.shifts(s.values)[-n:], bank) for given, s in zip(models, found, strict=True)]
    correlations = [(size.correlation, size.correlation_interval) for size in sizes]
    slopes = [(size.slope, size.slope_interval) for size in sizes]
    return [
        mean_of_models("strongest shifts, correlation", library, method, correlations, "correlation", "queries"),
        mean_of_models("strongest shifts, slope", library, method, slopes, "real / predicted", "queries"),
    ]


def mean_of_models(
    case: str,
    library: str,
    method: str,
    found: Sequence[tuple[float, tuple[float, float]]],
    unit: str = "rank correlation",
    over: str = "queries and subsets",
) -> Row:
    """The mean over models of a figure, given with its interval for each; its range is in the note."""
    values, intervals = zip(*found, strict=True)
    mean, interval = over_models(values, intervals)
    note = f"95 % interval over {over}"
    if len(found) > 1:
        note += f", and over {len(found)} models, {min(values):.4g} to {max(values):.4g}"
    return Row(case, library, method, mean, *interval, unit, note)
