"""How good a prediction is."""

import dataclasses

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from peft import PeftModel
from transformers import PreTrainedModel

from ..training import predict
from .intervals import errors_of, percentile_interval, resamples


@dataclasses.dataclass(frozen=True)
class Scores:
    """Errors of a prediction on n molecules.

    ``rmse`` and ``mae`` are in logD. ``interval`` is the 95 % bootstrap interval of the RMSE over molecules: it says
    how far the figure would move with other test molecules, not with another training seed.
    """

    rmse: float
    mae: float
    r2: float
    interval: tuple[float, float]
    n: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"RMSE {self.rmse:.3f} [{low:.3f}, {high:.3f}] logD, MAE {self.mae:.3f}, R² {self.r2:.3f}, n = {self.n}"


def scores(labels: ArrayLike, predictions: ArrayLike, seed: int = 0) -> Scores:
    """RMSE with its interval, MAE and R² of predictions.

    Parameters
    ----------
    labels, predictions : array [n]
        In logD.
    seed : int
        Fixes the resamples of the interval.

    Raises
    ------
    DataError
        If the lengths differ or a value is not finite.
    """
    true, error = errors_of(labels, predictions)
    resampled = np.sqrt((error**2)[resamples(len(error), seed)].mean(axis=1))
    spread = ((true - true.mean()) ** 2).sum()
    return Scores(
        rmse=float(np.sqrt((error**2).mean())),
        mae=float(np.abs(error).mean()),
        r2=float(1 - (error**2).sum() / spread) if spread else float("nan"),
        interval=percentile_interval(resampled),
        n=len(error),
    )


def evaluate(model: PreTrainedModel | PeftModel, table: pd.DataFrame) -> Scores:
    """Scores of a model's predictions on a table.

    Parameters
    ----------
    model
        A regression model, plain or wrapped by peft.
    table
        ``smiles`` and ``label`` (logD).

    Raises
    ------
    DataError
        If the model is no regression model, the table is empty, or a SMILES cannot be read.
    """
    return scores(table["label"], predict(model, table["smiles"]))
