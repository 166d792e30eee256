"""How sure a figure is: bootstrap intervals over test molecules and seeds."""

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from sklearn.metrics import roc_auc_score

from ..errors import DataError

N_BOOTSTRAP = 2000


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
    return Difference(first - second, percentile_interval(firsts - seconds, level))


def mean_rmse(
    labels: Sequence[float], runs: Sequence[Sequence[float]], seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """RMSE averaged over seeds, and its 95 % bootstrap interval over test molecules and seeds; runs is [n_seeds, n]."""
    value, resampled = _resampled_rmse(labels, np.atleast_2d(runs), seed)
    return value, percentile_interval(resampled)


def _resampled_rmse(labels: Sequence[float], runs: np.ndarray, seed: int) -> tuple[float, np.ndarray]:
    """RMSE averaged over runs [n_seeds, n], and the same on resampled molecules and runs [N_BOOTSTRAP].

    The resamples depend on the shape and the seed alone, so that two calls are paired.
    """
    squares = np.stack([errors_of(labels, run)[1] ** 2 for run in runs])
    n_runs, n = squares.shape
    chosen = np.random.default_rng(seed).integers(n_runs, size=(N_BOOTSTRAP, n_runs))
    resampled = np.sqrt(np.stack([run[resamples(n, seed)].mean(axis=1) for run in squares], axis=1))
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
    return (float(roc_auc_score(marked, values)), *percentile_interval(areas))


@lru_cache(maxsize=2)
def resamples(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(n, size=(N_BOOTSTRAP, n))


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def errors_of(labels: Sequence[float], predictions: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.asarray(labels, dtype=float), np.asarray(predictions, dtype=float)
    if labels.shape != predictions.shape or labels.ndim != 1 or not len(labels):
        raise DataError(f"labels have shape {labels.shape}, predictions {predictions.shape}; both must be [n], n > 0")
    bad = np.flatnonzero(~np.isfinite(labels) | ~np.isfinite(predictions))
    if len(bad):
        raise DataError(f"label or prediction {bad[0]} is not finite ({len(bad)} in all); training may have diverged")
    return labels, predictions - labels
