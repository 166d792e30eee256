"""How sure a figure is: bootstrap intervals over test molecules and seeds (Efron and Tibshirani 1993)."""

import dataclasses
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

from ..errors import DataError

#: Number of bootstrap resamples.
N_BOOTSTRAP = 2000


@dataclasses.dataclass(frozen=True)
class Difference:
    """RMSE of a minus RMSE of b on the same molecules (logD), with its paired bootstrap interval (95 % by default)."""

    value: float
    interval: tuple[float, float]

    @property
    def verdict(self) -> str:
        """How a compares with b: "better", "worse" or "no difference shown"."""
        low, high = self.interval
        return "better" if high < 0 else "worse" if low > 0 else "no difference shown"

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.interval[0]:+.3f}, {self.interval[1]:+.3f}] logD: {self.verdict}"


def paired_difference(
    labels: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Is a better than b? Paired bootstrap over test molecules, and over seeds where there are several.

    Parameters
    ----------
    labels : array [n]
        Measured values, logD.
    a, b : array [n] or [n_seeds, n]
        Predictions, logD. Each seed has its own RMSE, and these are averaged; run k of a is paired with run k of b.
    seed : int
        Fixes the resamples.
    level : float
        Coverage of the interval. When k comparisons are read together, give 1 - 0.05 / k (Bonferroni).

    Returns
    -------
    Difference
        Negative where a has the smaller error.

    Raises
    ------
    DataError
        If the shapes differ or a value is not finite.
    """
    runs_a, runs_b = np.atleast_2d(a), np.atleast_2d(b)
    if runs_a.shape != runs_b.shape:
        raise DataError(f"predictions of shapes {runs_a.shape} and {runs_b.shape} cannot be paired")
    rmse_a, resampled_a = _resampled_rmse(labels, runs_a, seed)
    rmse_b, resampled_b = _resampled_rmse(labels, runs_b, seed)
    return Difference(rmse_a - rmse_b, percentile_interval(resampled_a - resampled_b, level))


def mean_rmse(labels: ArrayLike, runs: ArrayLike, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """RMSE averaged over seeds, and its 95 % bootstrap interval over test molecules and seeds.

    Parameters
    ----------
    labels : array [n]
        Measured values, logD.
    runs : array [n_seeds, n]
        Predictions of each seed, logD.
    seed : int
        Fixes the resamples.

    Returns
    -------
    rmse : float
    interval : (low, high)

    Raises
    ------
    DataError
        If the shapes differ or a value is not finite.
    """
    value, resampled = _resampled_rmse(labels, np.atleast_2d(runs), seed)
    return value, percentile_interval(resampled)


def _resampled_rmse(labels: ArrayLike, runs: np.ndarray, seed: int) -> tuple[float, np.ndarray]:
    """RMSE averaged over runs [n_seeds, n], and the same for each resample of molecules and runs [N_BOOTSTRAP].

    The resamples depend only on the shape and the seed, so that two calls are paired.
    """
    squares = np.stack([errors_of(labels, run)[1] ** 2 for run in runs])
    n_runs, n = squares.shape
    chosen_runs = np.random.default_rng(seed).integers(n_runs, size=(N_BOOTSTRAP, n_runs))
    resampled = np.sqrt(np.stack([run[resamples(n, seed)].mean(axis=1) for run in squares], axis=1))
    return (
        float(np.sqrt(squares.mean(axis=1)).mean()),
        np.take_along_axis(resampled, chosen_runs, axis=1).mean(axis=1),
    )


def auroc(marked: ArrayLike, values: ArrayLike, seed: int = 0) -> tuple[float, float, float]:
    """Area under the ROC curve, with its 95 % bootstrap interval: do high values find the marked molecules?

    Parameters
    ----------
    marked : array of bool [n]
    values : array of float [n]
    seed : int
        Fixes the resamples.

    Returns
    -------
    (area, low, high)
        An area of 0.5 is chance; below 0.5 the marked molecules have the low values.

    Raises
    ------
    DataError
        If all molecules are marked, or none.
    """
    is_marked, ranked = np.asarray(marked, dtype=bool), np.asarray(values, dtype=float)
    if is_marked.all() or not is_marked.any():
        raise DataError("an area under the ROC curve needs marked and unmarked molecules")
    positives, negatives = ranked[is_marked], ranked[~is_marked]
    # The area is the share of pairs that are in the right order; a resample only gives the pairs other weights.
    in_order = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    rng = np.random.default_rng(seed)
    weights = [rng.multinomial(len(g), np.full(len(g), 1 / len(g)), size=N_BOOTSTRAP) for g in (positives, negatives)]
    areas = ((weights[0] @ in_order) * weights[1]).sum(axis=1) / in_order.size
    return (float(roc_auc_score(is_marked, ranked)), *percentile_interval(areas))


@lru_cache(maxsize=2)
def resamples(n: int, seed: int) -> np.ndarray:
    """Indices of n molecules drawn with replacement, [N_BOOTSTRAP, n]."""
    return np.random.default_rng(seed).integers(n, size=(N_BOOTSTRAP, n))


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The interval that holds the middle ``level`` of the resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def errors_of(labels: ArrayLike, predictions: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels [n] as floats, and predictions minus labels [n].

    Raises
    ------
    DataError
        If the shapes differ or a value is not finite.
    """
    true, predicted = np.asarray(labels, dtype=float), np.asarray(predictions, dtype=float)
    if true.shape != predicted.shape or true.ndim != 1 or not len(true):
        raise DataError(f"labels have shape {true.shape}, predictions {predicted.shape}; both must be [n], n > 0")
    bad = np.flatnonzero(~np.isfinite(true) | ~np.isfinite(predicted))
    if len(bad):
        raise DataError(f"label or prediction {bad[0]} is not finite ({len(bad)} in all); training may have diverged")
    return true, predicted - true
