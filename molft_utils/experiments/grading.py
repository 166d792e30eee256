"""Grading a trained model on the test split: every test error in a table is computed here."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from ..evaluation import Scores, scores
from ..files import write_atomically
from ..profiles import Settings
from ..training import predict
from .pipeline import StagedFit, tables
from .stages import Kind, run_stage

GRADED = Kind("graded", 1, ("data",))


@dataclasses.dataclass(frozen=True)
class Graded:
    """A model's errors and costs (``row``) and its test ``predictions`` [n] in logD; ``reused``: made earlier."""

    row: dict
    predictions: np.ndarray
    reused: bool


def graded(fit: StagedFit, settings: Settings) -> Graded:
    """Errors of a trained model on the test and validation splits, computed once; a damaged result is computed again.

    The row holds ``rmse``, its 95 % interval over test molecules ``rmse_low`` to ``rmse_high``, and ``validation_rmse``
    (logD); ``n_train`` molecules, ``trained`` and ``total`` parameters, ``learning_rate``, ``epochs``, ``seconds`` of
    training, and ``peak_memory`` during it (MB).
    """

    def compute(folder: Path, given: Settings) -> dict:
        parts = tables(given)
        predictions = predict(fit.model, parts.test["smiles"])
        write_atomically(folder / "predictions.csv", pd.DataFrame({"prediction": predictions}).to_csv(index=False))
        test = scores(parts.test["label"], predictions)
        validation = scores(parts.validation["label"], predict(fit.model, parts.validation["smiles"]))
        return {"row": _row(fit, test, validation)}

    result = run_stage(GRADED, settings, {"model": fit.folder.name}, compute)
    predictions = pd.read_csv(result.folder / "predictions.csv")["prediction"].to_numpy()
    return Graded(result.record["row"], predictions, result.reused)


def _row(fit: StagedFit, test: Scores, validation: Scores) -> dict:
    """What a table shows about a trained model."""
    return {
        "rmse": test.rmse,
        "rmse_low": test.interval[0],
        "rmse_high": test.interval[1],
        "validation_rmse": validation.rmse,
        "n_train": fit.n_train,
        "trained": fit.result.record["trained"],
        "total": fit.result.record["total"],
        "learning_rate": fit.result.record["inputs"]["regression"]["learning_rate"],
        "epochs": len(fit.history),
        "seconds": fit.seconds,
        "peak_memory": fit.peak_memory,
    }
