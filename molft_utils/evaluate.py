"""How good a prediction is, how sure that is, and what the report says beside it."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from transformers import PreTrainedModel

from .data import DATA_FOLDER
from .errors import DataError
from .predict import predict

N_BOOTSTRAP = 2000


@dataclasses.dataclass(frozen=True)
class Scores:
    """Errors of a prediction on n molecules.

    ``rmse`` and ``mae`` are in logD, ``interval`` is the 95 % bootstrap interval of the RMSE over molecules: it says
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


@dataclasses.dataclass(frozen=True)
class Difference:
    """RMSE of a minus RMSE of b on the same molecules, with its paired bootstrap interval (95 % by default)."""

    value: float
    interval: tuple[float, float]

    @property
    def verdict(self) -> str:
        """ "better", "worse" or "no difference shown", speaking of a against b."""
        low, high = self.interval
        return "better" if high < 0 else "worse" if low > 0 else "no difference shown"

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.interval[0]:+.3f}, {self.interval[1]:+.3f}] logD: {self.verdict}"


def scores(labels: Sequence[float], predictions: Sequence[float], seed: int = 0) -> Scores:
    """RMSE with its interval, MAE and R² of predictions [n] against labels [n].

    Raises
    ------
    DataError
        If the lengths differ or a value is not finite.
    """
    labels, error = _errors(labels, predictions)
    resampled = np.sqrt((error**2)[_resamples(len(error), seed)].mean(axis=1))
    spread = ((labels - labels.mean()) ** 2).sum()
    return Scores(
        rmse=float(np.sqrt((error**2).mean())),
        mae=float(np.abs(error).mean()),
        r2=float(1 - (error**2).sum() / spread) if spread else float("nan"),
        interval=_interval(resampled),
        n=len(error),
    )


def evaluate(model: PreTrainedModel, table: pd.DataFrame) -> Scores:
    """Scores of a model's predictions on a table."""
    return scores(table["label"], predict(model, table["smiles"]))


def paired_difference(
    labels: Sequence[float],
    a: Sequence[Sequence[float]],
    b: Sequence[Sequence[float]],
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Is a better than b? Paired bootstrap over test molecules, and over seeds where there are several.

    Parameters
    ----------
    labels [n]
    a, b : [n] or [n_seeds, n]
        Predictions. The RMSE of each seed is taken by itself, then averaged; run k of a is paired with run k of b.
    level
        Of the interval. Of k comparisons read together, each needs 1 - 0.05 / k (Bonferroni).

    Raises
    ------
    DataError
        If the shapes differ or a value is not finite.
    """
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    if a.shape != b.shape:
        raise DataError(f"predictions of shapes {a.shape} and {b.shape} cannot be paired")
    (first, firsts), (second, seconds) = (_resampled_rmse(labels, runs, seed) for runs in (a, b))
    return Difference(first - second, _interval(firsts - seconds, level))


def mean_rmse(
    labels: Sequence[float], runs: Sequence[Sequence[float]], seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """RMSE averaged over seeds, and its 95 % bootstrap interval over test molecules and seeds; runs is [n_seeds, n]."""
    value, resampled = _resampled_rmse(labels, np.atleast_2d(runs), seed)
    return value, _interval(resampled)


def _resampled_rmse(labels: Sequence[float], runs: np.ndarray, seed: int) -> tuple[float, np.ndarray]:
    """RMSE averaged over runs [n_seeds, n], and the same on resampled molecules and runs [N_BOOTSTRAP].

    The resamples depend on the shape and the seed alone, so that two calls are paired.
    """
    squares = np.stack([_errors(labels, run)[1] ** 2 for run in runs])
    n_runs, n = squares.shape
    chosen = np.random.default_rng(seed).integers(n_runs, size=(N_BOOTSTRAP, n_runs))
    resampled = np.sqrt(np.stack([run[_resamples(n, seed)].mean(axis=1) for run in squares], axis=1))
    return (
        float(np.sqrt(squares.mean(axis=1)).mean()),
        np.take_along_axis(resampled, chosen, axis=1).mean(axis=1),
    )


def auroc(marked: Sequence[bool], values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Area under the ROC curve, with its 95 % bootstrap interval: do high values find the marked molecules?

    Returns
    -------
    (area, low, high): 0.5 is chance, below 0.5 the marked ones have the low values.

    Raises
    ------
    DataError
        If all molecules are marked, or none.
    """
    marked, values = np.asarray(marked, dtype=bool), np.asarray(values, dtype=float)
    if marked.all() or not marked.any():
        raise DataError("an area under the ROC curve needs marked and unmarked molecules")
    high, low = values[marked], values[~marked]
    # The area is the share of pairs that are in the right order; a resample only weighs the pairs anew.
    right = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    rng = np.random.default_rng(seed)
    weights = [rng.multinomial(len(g), np.full(len(g), 1 / len(g)), size=N_BOOTSTRAP) for g in (high, low)]
    areas = ((weights[0] @ right) * weights[1]).sum(axis=1) / right.size
    return (float(roc_auc_score(marked, values)), *_interval(areas))


def _errors(labels: Sequence[float], predictions: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.asarray(labels, dtype=float), np.asarray(predictions, dtype=float)
    if labels.shape != predictions.shape or labels.ndim != 1 or not len(labels):
        raise DataError(f"labels have shape {labels.shape}, predictions {predictions.shape}; both must be [n], n > 0")
    bad = np.flatnonzero(~np.isfinite(labels) | ~np.isfinite(predictions))
    if len(bad):
        raise DataError(f"label or prediction {bad[0]} is not finite ({len(bad)} in all); training may have diverged")
    return labels, predictions - labels


@lru_cache(maxsize=2)
def _resamples(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(n, size=(N_BOOTSTRAP, n))


def _interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def report() -> dict:
    """The report's tables, as ``data/report.json`` holds them."""
    return json.loads((DATA_FOLDER / "report.json").read_text(encoding="utf-8"))


def report_table3() -> pd.DataFrame:
    """The report's Table 3, a row a cell: ``selection``, ``method`` (by our names) and ``rmse`` on test, in logD."""
    rows = {"No selection": "none", "Influence Method": "influence", "TS-DShapley": "ts-dshapley"}
    return pd.DataFrame(
        {"selection": rows[selection], "method": _METHODS[method], "rmse": rmse}
        for selection, row in report()["table3"]["rows"].items()
        for method, rmse in row.items()
    )


def report_table4() -> pd.Series:
    """The report's Table 4, minutes of training on a T4, by our names of methods."""
    return pd.Series(report()["table4"]["rows"], name="minutes").rename(index=_METHODS)


_METHODS = {"Full Finetuning": "full", "Full Fine-tuning": "full", "BitFit": "bitfit", "LoRA": "lora", "IA3": "ia3"}


def beside_report(table: str, ours: Mapping[str, Scores], column: str | None = None) -> pd.DataFrame:
    """Our test RMSE beside the report's.

    Parameters
    ----------
    table
        A key of ``data/report.json``, for instance "table1".
    ours
        Row name -> scores. Rows that the report lacks stay empty on its side; rows that we lack, on ours.
    column
        Of a table with several columns, for instance "Full Finetuning" of table3.
    """
    theirs = report()[table]["rows"]
    if column is not None:
        theirs = {name: row[column] for name, row in theirs.items()}
    names = [*ours, *(name for name in theirs if name not in ours)]
    rows = {
        name: {
            "report": theirs.get(name, np.nan),
            "ours": ours[name].rmse if name in ours else np.nan,
            "95 % interval": "[{:.3f}, {:.3f}]".format(*ours[name].interval) if name in ours else "",
        }
        for name in names
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.rename_axis(index="test RMSE / logD")
