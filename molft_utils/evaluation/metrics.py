"""How good predictions are, and how sure that is: errors, intervals, paired differences.

With one seed, an interval is the percentile bootstrap over test molecules (Efron and Tibshirani 1993, chapter 13). With
several seeds it is a t interval: seeds and molecules are both samples, so the variance of a mean has a part from each.
Resampling three seeds instead would include the truth in 67 of 100 cases where 95 are claimed.
"""

import dataclasses

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike
from peft import PeftModel
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score, root_mean_squared_error
from transformers import PreTrainedModel

from ..errors import DataError
from ..training import predict

#: Number of bootstrap resamples.
N_BOOTSTRAP = 2000


@dataclasses.dataclass(frozen=True)
class Scores:
    """Errors of a prediction on n molecules; ``rmse`` and ``mae`` in the labels' ``unit``.

    ``interval`` is the 95 % bootstrap interval of the RMSE over molecules: it says how much the figure would change
    with other test molecules, not with another training seed.
    """

    rmse: float
    mae: float
    r2: float
    interval: tuple[float, float]
    n: int
    unit: str = "logD"

    def __str__(self) -> str:
        rmse = "{:.3f} [{:.3f}, {:.3f}]".format(self.rmse, *self.interval)
        return f"RMSE {rmse} {self.unit}, MAE {self.mae:.3f}, R² {self.r2:.3f}, n = {self.n}"


@dataclasses.dataclass(frozen=True)
class Difference:
    """RMSE of a minus RMSE of b on the same molecules, with its paired interval (95 % by default)."""

    value: float
    interval: tuple[float, float]
    unit: str = "logD"

    @property
    def verdict(self) -> str:
        """How a compares with b: "better", "worse" or "no difference shown"."""
        low, high = self.interval
        return "better" if high < 0 else "worse" if low > 0 else "no difference shown"

    def is_within(self, margin: float) -> bool:
        """Whether the whole interval lies within ± ``margin``: then a equals b by this margin (Schuirmann 1987)."""
        return -margin < self.interval[0] and self.interval[1] < margin

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.interval[0]:+.3f}, {self.interval[1]:+.3f}] {self.unit}: {self.verdict}"


def scores(labels: ArrayLike, predictions: ArrayLike, seed: int = 0, unit: str = "logD") -> Scores:
    """RMSE with its interval, MAE and R² of predictions [n] for labels [n]; ``seed`` fixes the resamples."""
    true, predicted = _checked(labels, predictions)
    return Scores(
        rmse=float(root_mean_squared_error(true, predicted)),
        mae=float(mean_absolute_error(true, predicted)),
        r2=float(r2_score(true, predicted)) if np.ptp(true) else float("nan"),
        interval=percentile_interval(_resampled_rmse(true - predicted, seed)),
        n=len(true),
        unit=unit,
    )


def evaluate(model: PreTrainedModel | PeftModel, table: pd.DataFrame) -> Scores:
    """Scores of a regression model, plain or wrapped by peft, on a table of ``smiles`` and ``label``."""
    return scores(table["label"], predict(model, table["smiles"]), unit=table.attrs.get("target", "logD"))


def paired_difference(
    labels: ArrayLike, a: ArrayLike, b: ArrayLike, seed: int = 0, level: float = 0.95, unit: str = "logD"
) -> Difference:
    """Is a better than b? Paired over test molecules, and over seeds where there are several.

    Parameters
    ----------
    labels : array [n]
        Measured values, in the unit named.
    a, b : array [n] or [n_seeds, n]
        Predictions. Each seed has its own RMSE, and these are averaged; run k of a is paired with run k of b.
    level
        Coverage of the interval. When k comparisons are read together, give 1 - 0.05 / k (Bonferroni).
    """
    errors_a, errors_b = _errors_of_runs(labels, a), _errors_of_runs(labels, b)
    if errors_a.shape != errors_b.shape:
        raise DataError(f"predictions of shapes {errors_a.shape} and {errors_b.shape} cannot be paired")
    parts_a, parts_b = _contributions(errors_a), _contributions(errors_b)
    value = float(parts_a.mean() - parts_b.mean())
    if len(errors_a) > 1:
        return Difference(value, seeds_and_molecules(parts_a - parts_b, level), unit)
    # Equal seeds draw equal molecules, so that the two resampled errors are paired.
    resampled = _resampled_rmse(errors_a[0], seed) - _resampled_rmse(errors_b[0], seed)
    return Difference(value, percentile_interval(resampled, level), unit)


def mean_rmse(labels: ArrayLike, runs: ArrayLike, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """RMSE averaged over seeds, and its 95 % interval over test molecules, and over seeds where there are several.

    ``labels`` [n] and ``runs`` [n] or [n_seeds, n] as in :func:`paired_difference`.
    """
    errors = _errors_of_runs(labels, runs)
    parts = _contributions(errors)
    if len(errors) > 1:
        return float(parts.mean()), seeds_and_molecules(parts)
    return float(parts.mean()), percentile_interval(_resampled_rmse(errors[0], seed))


def seeds_and_molecules(parts: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The t interval of a mean over seeds and molecules, both of which are samples.

    Two-way analysis of variance without replication (Searle, Casella and McCulloch 1992, chapter 4): the variance of
    the mean is that between seeds, divided by their number, plus that between molecules, divided by theirs; what both
    share is counted once. Satterthwaite's (1946) degrees of freedom. ``parts`` [n_seeds, n] is what each molecule
    contributes in each seed; at least two seeds.
    """
    n_seeds, n = parts.shape
    by_seed, by_molecule = parts.mean(axis=1), parts.mean(axis=0)
    residuals = parts - by_seed[:, None] - by_molecule + parts.mean()
    # The mean of a molecule over seeds varies with the residuals, too; that part is in the term of the seeds already.
    shared = (residuals**2).sum() / ((n_seeds - 1) * (n - 1)) / (n_seeds * n)
    of_seeds = by_seed.var(ddof=1) / n_seeds
    of_molecules = max(by_molecule.var(ddof=1) / n - shared, 0.0)
    variance = of_seeds + of_molecules
    if variance == 0:
        return float(parts.mean()), float(parts.mean())
    freedom = variance**2 / (of_seeds**2 / (n_seeds - 1) + of_molecules**2 / (n - 1))
    half_width = scipy.stats.t.ppf((1 + level) / 2, freedom) * variance**0.5
    return float(parts.mean() - half_width), float(parts.mean() + half_width)


def auroc(positive: ArrayLike, values: ArrayLike, seed: int = 0) -> tuple[float, float, float]:
    """Area under the ROC curve, and its 95 % bootstrap interval: (area, low, high).

    Do high values [n] find the positive molecules (bool [n])? An area of 0.5 is chance; below 0.5 they have the low
    values.
    """
    is_positive, ranked = np.asarray(positive, dtype=bool), np.asarray(values, dtype=float)
    if is_positive.all() or not is_positive.any():
        raise DataError("an area under the ROC curve needs positive and negative molecules")
    high, low = ranked[is_positive], ranked[~is_positive]
    # The area is the share of pairs that are in the right order; a resample only gives the pairs other weights.
    in_order = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    rng = np.random.default_rng(seed)
    of_high, of_low = (resamples(len(group), rng) for group in (high, low))
    areas = ((of_high @ in_order) * of_low).sum(axis=1) / in_order.size
    return (float(roc_auc_score(is_positive, ranked)), *percentile_interval(areas))


def resamples(n: int, rng: np.random.Generator) -> np.ndarray:
    """How often each bootstrap resample of n things has each of them: int [N_BOOTSTRAP, n]."""
    return rng.multinomial(n, np.full(n, 1 / n), size=N_BOOTSTRAP)


def percentile_interval(resampled: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The interval that includes the middle ``level`` of the resampled values."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_rmse(errors: np.ndarray, seed: int) -> np.ndarray:
    """RMSE of each resample of the molecules [N_BOOTSTRAP], of errors [n]; drawn as scipy.stats.bootstrap draws."""
    molecules = np.random.default_rng(seed).integers(len(errors), size=(N_BOOTSTRAP, len(errors)))
    return np.sqrt((errors**2)[molecules].mean(axis=1))


def _contributions(errors: np.ndarray) -> np.ndarray:
    """What each molecule contributes to each run's RMSE [n_seeds, n], to first order; a run's mean is its RMSE."""
    squares = errors**2
    rmse = np.sqrt(squares.mean(axis=1, keepdims=True))
    slope = np.divide(0.5, rmse, out=np.zeros_like(rmse), where=rmse > 0)  # of the square root, at the mean square
    return rmse + slope * (squares - rmse**2)


def _errors_of_runs(labels: ArrayLike, runs: ArrayLike) -> np.ndarray:
    """Predictions minus labels [n_seeds, n]."""
    pairs = [_checked(labels, run) for run in np.atleast_2d(runs)]
    return np.stack([predicted - true for true, predicted in pairs])


def _checked(labels: ArrayLike, predictions: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions as floats [n]; DataError if the shapes differ or a value is not finite."""
    true, predicted = np.asarray(labels, dtype=float), np.asarray(predictions, dtype=float)
    if true.shape != predicted.shape or true.ndim != 1 or not len(true):
        raise DataError(f"labels have shape {true.shape}, predictions {predicted.shape}; both must be [n], n > 0")
    bad = np.flatnonzero(~np.isfinite(true) | ~np.isfinite(predicted))
    if len(bad):
        raise DataError(f"label or prediction {bad[0]} is not finite ({len(bad)} in all); training may have diverged")
    return true, predicted
