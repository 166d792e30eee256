"""What labels are worth: the test error against the number of labelled molecules, for models that read and for others.

``data/results/labels.csv`` has one row for each model, number of labels and seed; ``make results`` makes it. The seed
draws the molecules: the same ones for every model, and the smaller sets are parts of the larger ones. All are graded on
the same test split. A language model keeps the epoch that is best on the validation split, where the settings of the
other models were chosen as well. So was the number of epochs: ``python -m molft_utils.making.label_study`` tries half
and twice as many.
"""

import itertools
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from ..data import COMPUTED_LOGP, DESCRIPTORS, Split, descriptor_ridge, descriptor_svr, ecfp4_counts, random_forest, svr
from ..evaluation import records, scores
from ..experiments import commit, described, graded, inputs_of, pipeline
from ..profiles import Settings, settings
from .random_weights import random_mini

SIZES = (50, 100, 300, 1000, 3024)

#: Number of labels -> what the class profile changes. Few molecules make short epochs, so there are more of them. All
#: are trained: early stopping would end a run of short epochs before it has begun.
BUDGETS: Mapping[int, dict[str, Any]] = {
    50: dict(epochs=20, batch_size=8, patience=20),
    100: dict(epochs=30, batch_size=8, patience=30),
    300: dict(epochs=20, batch_size=16, patience=20),
    1000: dict(epochs=24, batch_size=32, patience=24),
    3024: dict(epochs=8, batch_size=32, patience=8),
}

#: Language models -> the checkpoint to start from, given the seed.
CHECKPOINTS: dict[str, Callable[[int], str]] = {
    "random weights": random_mini,
    "mini": lambda seed: "mini",
    "mini-descriptors": lambda seed: "mini-descriptors",
}


def ecfp4_of(part: pd.DataFrame) -> np.ndarray:
    """ECFP4 counts [n, 2048] of a part of Lipophilicity."""
    return ecfp4_counts(part["smiles"])


def descriptors_of(part: pd.DataFrame, without: tuple[str, ...] = ()) -> np.ndarray:
    """Descriptors [n, d] of a part of Lipophilicity, all of which is described once; some may be left out by name."""
    kept = [name not in without for name in DESCRIPTORS]
    return described(pipeline.whole_table()["smiles"])[part.index][:, kept]


without_logp = partial(descriptors_of, without=COMPUTED_LOGP)

#: Models on numbers computed from a molecule -> those numbers for rows of the data set, and the model, given the seed.
NUMBERS: dict[str, tuple[Callable[[pd.DataFrame], np.ndarray], Callable[[int], Any]]] = {
    "SVR on ECFP4": (ecfp4_of, lambda seed: svr()),
    "random forest on ECFP4": (ecfp4_of, random_forest),
    "SVR on descriptors": (descriptors_of, lambda seed: descriptor_svr()),
    "ridge on descriptors": (descriptors_of, lambda seed: descriptor_ridge()),
    "SVR on descriptors without logP": (without_logp, lambda seed: descriptor_svr()),
    "ridge on descriptors without logP": (without_logp, lambda seed: descriptor_ridge()),
}

MODELS = (*CHECKPOINTS, *NUMBERS)

#: Numbers of labels, and seeds, with which the fine-tuning methods are compared (``method_labels.csv``).
METHOD_SIZES, METHOD_SEEDS = (100, 300, 1000), (0, 1, 2)


def labelled(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """The first ``n`` molecules of a random order of the training split."""
    return train.iloc[np.random.default_rng(seed).permutation(len(train))[:n]]


def run_labels(model: str, n: int, seed: int) -> None:
    """Compute one row, unless it is on record with the same inputs."""
    language = model in CHECKPOINTS
    changed = {"checkpoint": CHECKPOINTS[model](seed), **BUDGETS[n]} if language else {}
    cfg = settings("class", seed=seed, **changed)
    inputs = inputs_of(cfg, pipeline.REGRESSION if language else pipeline.FINGERPRINTS)
    if not language:
        # Without the addresses of functions, which are others in each process.
        inputs["model"] = re.sub(r" at 0x\w+", "", repr(NUMBERS[model][1](seed)))
    key = {"model": model, "labels": n, "seed": seed}
    if records.is_recorded("labels", key, inputs):
        return
    parts = pipeline.tables(cfg)
    parts = Split(labelled(parts.train, n, seed), parts.validation, parts.test)
    row = _language_row(cfg, parts) if language else _numbers_row(model, seed, parts)
    records.add("labels", key, {**row, "commit": commit()}, inputs)


def run_method(method: str, n: int, seed: int) -> None:
    """Compute a row of ``method_labels.csv``, which has a fine-tuning method in place of a model."""
    cfg = settings("class", seed=seed, **BUDGETS[n])
    inputs = {**inputs_of(cfg.of_method(method), pipeline.fit_kind(method)), "method": method}
    key = {"model": method, "labels": n, "seed": seed}
    if records.is_recorded("method_labels", key, inputs):
        return
    fit = pipeline.after_mlm(cfg, labelled(pipeline.tables(cfg).train, n, seed), method)
    records.add("method_labels", key, {**_errors(graded(fit, cfg).row), "commit": commit()}, inputs)


def _language_row(cfg: Settings, parts: Split) -> dict:
    return _errors(graded(pipeline.baseline(cfg, parts.train), cfg).row)


def _errors(row: dict) -> dict:
    return {name: row[name] for name in ("rmse", "validation_rmse", "epochs", "seconds")}


def _numbers_row(name: str, seed: int, parts: Split) -> dict:
    numbers, model = NUMBERS[name]
    began = time.perf_counter()
    fitted = model(seed).fit(numbers(parts.train), parts.train["label"])
    errors = [scores(p["label"], fitted.predict(numbers(p))).rmse for p in (parts.test, parts.validation)]
    return {"rmse": errors[0], "validation_rmse": errors[1], "epochs": 0, "seconds": time.perf_counter() - began}


def epochs_tried(model: str, n: int, factor: float) -> dict:
    """Validation RMSE in logD of one run (seed 0) with so many times the epochs of ``BUDGETS``."""
    epochs = round(factor * BUDGETS[n]["epochs"])
    changed = {**BUDGETS[n], "epochs": epochs, "patience": epochs, "checkpoint": CHECKPOINTS[model](0)}
    cfg = settings("class", **changed)
    fit = pipeline.baseline(cfg, labelled(pipeline.tables(cfg).train, n, seed=0))
    best = fit.history["validation_loss"].min() ** 0.5
    return {"model": model, "labels": n, "epochs": epochs, "factor": factor, "validation_rmse": best}


def main() -> None:
    """Print what half and twice as many epochs would give."""
    runs = itertools.product(("mini", "mini-descriptors"), SIZES, (0.5, 1, 2))
    rows = pd.DataFrame(Parallel(2)(delayed(epochs_tried)(*run) for run in runs))
    print(rows.pivot_table("validation_rmse", ["model", "labels"], "factor").round(3))


if __name__ == "__main__":
    main()
