"""How sure a figure is, over test molecules and over seeds.

With one seed: the bootstrap over molecules (Efron and Tibshirani 1993). With several, a t interval: seeds and molecules
are both drawn, so the variance of a mean has a part from each, and few seeds tell little about theirs. Resampling three
seeds would hold the truth in 67 of 100 cases where 95 are claimed.
"""

import dataclasses
from functools import lru_cache

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

from ..errors import DataError

#: Number of bootstrap resamples.
N_BOOTSTRAP = 2000


@dataclasses.dataclass(frozen=True)
class Difference:
    """RMSE of a minus RMSE of b on the same molecules (logD), with its paired interval (95 % by default)."""

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
    """Is a better than b? Paired over test molecules, and over seeds where there are several.

    Parameters
    ----------
    labels : array [n]
        Measured values, logD.
    a, b : array [n] or [n_seeds, n]
        Predictions, logD. Each seed has its own RMSE, and these are averaged; run k of a is paired with run k of b.
    seed : int
        Fixes the resamples (one seed).
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
    parts_a, parts_b = _parts_of_rmse(labels, runs_a), _parts_of_rmse(labels, runs_b)
    value = float(parts_a.mean() - parts_b.mean())
    if len(runs_a) > 1:
        return Difference(value, seeds_and_molecules(parts_a - parts_b, level))
    gaps = _resampled_rmse(labels, runs_a[0], seed) - _resampled_rmse(labels, runs_b[0], seed)
    return Difference(value, percentile_interval(gaps, level))


def mean_rmse(labels: ArrayLike, runs: ArrayLike, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """RMSE averaged over seeds, and its 95 % interval over test molecules, and over seeds where there are several.

    Parameters
    ----------
    labels : array [n]
        Measured values, logD.
    runs : array [n_seeds, n]
        Predictions of each seed, logD.
    seed : int
        Fixes the resamples (one seed).

    Returns
    -------
    rmse : float
    interval : (low, high)

    Raises
    ------
    DataError
        If the shapes differ or a value is not finite.
    """
    runs = np.atleast_2d(runs)
    parts = _parts_of_rmse(labels, runs)
    alone = len(runs) == 1
    interval = percentile_interval(_resampled_rmse(labels, runs[0], seed)) if alone else seeds_and_molecules(parts)
    return float(parts.mean()), interval


def seeds_and_molecules(parts: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The t interval of a mean over seeds and molecules, both of which are a sample.

    Two-way analysis of variance without replication (Searle, Casella and McCulloch 1992, chapter 4): the variance of
    the mean is that between seeds, divided by their number, plus that between molecules, divided by theirs; what both
    share is counted once. Satterthwaite's (1946) degrees of freedom.

    Parameters
    ----------
    parts : array [n_seeds, n]
        What each molecule contributes in each seed; at least two seeds.
    level : float
        Coverage of the interval.
    """
    n_seeds, n = parts.shape
    by_seed, by_molecule = parts.mean(axis=1), parts.mean(axis=0)
    rest = parts - by_seed[:, None] - by_molecule + parts.mean()
    shared = (rest**2).sum() / ((n_seeds - 1) * (n - 1)) / (n_seeds * n)
    of_seeds = by_seed.var(ddof=1) / n_seeds
    of_molecules = max(by_molecule.var(ddof=1) / n - shared, 0.0)
    variance = of_seeds + of_molecules
    if variance == 0:
        return float(parts.mean()), float(parts.mean())
    freedom = variance**2 / (of_seeds**2 / (n_seeds - 1) + of_molecules**2 / (n - 1))
    reach = scipy.stats.t.ppf((1 + level) / 2, freedom) * variance**0.5
    return float(parts.mean() - reach), float(parts.mean() + reach)


def _parts_of_rmse(labels: ArrayLike, runs: np.ndarray) -> np.ndarray:
    """What each molecule contributes to each run's RMSE [n_seeds, n], to first order; a run's mean is its RMSE."""
    squares = np.stack([errors_of(labels, run)[1] ** 2 for run in runs])
    rmse = np.sqrt(squares.mean(axis=1, keepdims=True))
    slope = np.divide(0.5, rmse, out=np.zeros_like(rmse), where=rmse > 0)
    return rmse + slope * (squares - rmse**2)


def _resampled_rmse(labels: ArrayLike, run: np.ndarray, seed: int) -> np.ndarray:
    """RMSE of each resample of the molecules [N_BOOTSTRAP]; with one ``n`` and seed, two calls are paired."""
    squares = errors_of(labels, run)[1] ** 2
    return np.sqrt(squares[resamples(len(squares), seed)].mean(axis=1))


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
