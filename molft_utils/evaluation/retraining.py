"""Scores of training molecules, graded by real retraining: the LDS, sizes of shifts, gains of groups, the leaderboard.

The linear datamodeling score (Park et al. 2023, arXiv:2303.14186, section 2) retrains a model on many random halves of
its training data. A query molecule's loss after such a retraining is predicted by the sum of the scores of the
molecules that were in the half; the LDS is the rank correlation of the two over the halves, averaged over queries.
"""

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike

from ..errors import DataError
from .banks import Bank, load_bank
from .metrics import percentile_interval, resamples
from .results import load_results


@dataclasses.dataclass(frozen=True)
class LDS:
    """A linear datamodeling score: 1 ranks all retrainings rightly, 0 is chance.

    ``value`` is the mean of ``per_query`` [n_queries], and ``interval`` its 95 % bootstrap interval over queries and
    complementary pairs of subsets. The bank's own losses are noisy, as they are means over a few seeds: ``ceiling`` is
    what scores without any error would reach, and ``one_more_seed`` what the losses of one further seed would
    (:func:`references`).
    """

    value: float
    interval: tuple[float, float]
    ceiling: float
    one_more_seed: float
    per_query: np.ndarray

    def __str__(self) -> str:
        low, high = self.interval
        references = f"one more seed has {self.one_more_seed:.3f}, the ceiling is {self.ceiling:.3f}"
        return f"LDS {self.value:.3f} [{low:.3f}, {high:.3f}]; {references}"


@dataclasses.dataclass(frozen=True)
class ShiftAgreement:
    """Do predicted shifts of predictions have the right size? For each query, its strongest training molecule alone.

    ``predicted`` and ``real`` [n_queries], in logD; their ``correlation``, and the ``slope`` of real on predicted
    shifts: above 1, the shifts are larger than predicted. Each with its 95 % bootstrap interval over queries. The noise
    of the real shifts, which are means over a finite number of subsets, lowers the correlation, but not the slope.
    """

    correlation: float
    correlation_interval: tuple[float, float]
    slope: float
    slope_interval: tuple[float, float]
    predicted: np.ndarray
    real: np.ndarray


def lds(scores: ArrayLike, bank: Bank, seed: int = 0) -> LDS:
    """Grade ``scores`` [n_queries, n_train], in the order of the bank, by its retrained models.

    A score is positive where having that training molecule lowers that query's loss.
    """
    per_query, resampled = _graded(scores, bank, seed)
    return LDS(float(per_query.mean()), percentile_interval(resampled), *references(bank.losses()), per_query)


def lds_difference(a: ArrayLike, b: ArrayLike, bank: Bank, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """LDS of scores a minus that of scores b, and its 95 % interval over the same resamples of queries and subsets.

    Paired: most of what makes one LDS uncertain, which subsets were drawn, is common to both.
    """
    (per_query_a, resampled_a), (per_query_b, resampled_b) = (_graded(scores, bank, seed) for scores in (a, b))
    return float((per_query_a - per_query_b).mean()), percentile_interval(resampled_a - resampled_b)


def _graded(scores: ArrayLike, bank: Bank, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The score of each query [n_queries], and the mean over queries for each resample."""
    values = checked_scores(scores, bank)
    # A molecule with a positive score lowers the loss where it is in the subset.
    predicted = -values @ bank.members.T.astype(float)  # [n_queries, n_subsets]
    real = bank.losses().mean(axis=1).T
    ranks = centred_ranks(predicted), centred_ranks(real)
    n_queries, n_subsets = predicted.shape
    rng = np.random.default_rng(seed)
    # Rows 2k and 2k + 1 of a bank are complementary, hence dependent: pairs of subsets are drawn, and queries.
    subsets = np.repeat(resamples(math.ceil(n_subsets / 2), rng), 2, axis=1)[:, :n_subsets].astype(float)
    queries = resamples(n_queries, rng).astype(float)
    resampled = (weighted_correlation(*ranks, subsets) * queries).sum(axis=1) / n_queries
    return weighted_correlation(*ranks, np.ones((1, n_subsets)))[0], resampled


def shift_agreement(shifts: ArrayLike, bank: Bank, seed: int = 0) -> ShiftAgreement:
    """Compare predicted shifts of predictions with the real ones of a bank of halves, by size.

    Parameters
    ----------
    shifts : array [n_queries, n_train]
        By how much having each training molecule raises each query's prediction, in logD
        (:meth:`~molft_utils.influence.Kernel.attributions` times the labels' standard deviation). A molecule counts for
        less in a scored model with more molecules than a half has: the slope is then larger.
    bank
        The real shift by a molecule is the mean prediction of the models that had it minus that of the others.
    """
    values, predictions = checked_scores(shifts, bank, len(bank.labels)), bank.predictions.mean(axis=1)
    strongest = np.abs(values).argmax(axis=1)
    predicted, had = values[np.arange(len(values)), strongest], bank.members[:, strongest]
    with_it, without = ((part * predictions).sum(axis=0) / part.sum(axis=0) for part in (had, ~had))
    real = with_it - without

    # Resampled subsets would add noise to the real shifts, and so lower every resample's correlation.
    n_queries = len(values)
    weights = np.vstack([np.ones(n_queries), resamples(n_queries, np.random.default_rng(seed))])
    covariance, variance, variance_real = weighted_moments(predicted[None], real[None], weights)
    correlation, slope = (covariance / np.sqrt(variance * variance_real)).ravel(), (covariance / variance).ravel()
    intervals = [percentile_interval(figure[1:]) for figure in (correlation, slope)]
    return ShiftAgreement(float(correlation[0]), intervals[0], float(slope[0]), intervals[1], predicted, real)


def checked_scores(scores: ArrayLike, bank: Bank, n_queries: int | None = None) -> np.ndarray:
    """Scores as floats [n_queries, n_train], by default for each query of the bank."""
    expected = (n_queries or len(bank.labels), bank.members.shape[1])
    needed = f"this bank needs a number for each pair, {expected}: queries, training molecules"
    try:
        values = np.asarray(scores, dtype=float)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a torch tensor that requires a gradient
        raise DataError(f"the scores are no array of numbers ({error}); {needed}") from error
    if values.shape != expected:
        remedy = "; transpose them" if values.shape == expected[::-1] else ""
        raise DataError(f"scores have shape {values.shape}; {needed}{remedy}")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise DataError(f"the score of training molecule {column} for query {row} is not finite")
    return values


def references(losses: np.ndarray) -> tuple[float, float]:
    """What the noise of the seeds allows: the ceiling, and the LDS that the losses of one further seed would reach.

    For losses [n_subsets, n_seeds, n_queries]; nan for one seed. What is graded is the mean over S seeds. With r the
    rank correlation between single seeds, averaged over pairs of seeds and over queries, the reliability of that mean
    is R = S r / (1 + (S - 1) r) (Spearman 1910; Brown 1910). Its correlation with what it measures, sqrt(R), is the
    ceiling: the LDS of scores without any error. A seed can be compared with the mean of the S - 1 others alone; its
    correlation with that mean is raised to what it would be with the mean of S.
    """
    n_seeds = losses.shape[1]
    if n_seeds == 1:
        return float("nan"), float("nan")
    pairs = itertools.combinations(range(n_seeds), 2)
    r = max(float(np.mean([_mean_rank_correlation(losses[:, a], losses[:, b]) for a, b in pairs])), 1e-6)
    of_all, of_others = (math.sqrt(s * r / (1 + (s - 1) * r)) for s in (n_seeds, n_seeds - 1))
    others = (np.delete(losses, s, axis=1).mean(axis=1) for s in range(n_seeds))
    one_seed = float(np.mean([_mean_rank_correlation(losses[:, s], mean) for s, mean in enumerate(others)]))
    return of_all, one_seed * of_all / of_others


def _mean_rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Over the subsets, of a with b [n_subsets, n_queries]; averaged over queries."""
    return float(weighted_correlation(centred_ranks(a.T), centred_ranks(b.T), np.ones((1, len(a)))).mean())


def centred_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks within each row, with mean zero; equal values share theirs."""
    return scipy.stats.rankdata(values, axis=1) - (values.shape[1] + 1) / 2


def weighted_correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlation of the rows of x and y [n, m] under each row of weights [k, m]: [k, n], 0 where a row is constant."""
    covariance, variance_x, variance_y = weighted_moments(x, y, weights)
    spread = np.sqrt(variance_x * variance_y)
    return np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 1e-9)


def weighted_moments(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covariance and both variances of the rows of x and y [n, m] under each row of weights [k, m]: [k, n] each."""
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y, mean_xy, mean_xx, mean_yy = (weights @ v.T / total for v in (x, y, x * y, x * x, y * y))
    return mean_xy - mean_x * mean_y, np.maximum(mean_xx - mean_x**2, 0), np.maximum(mean_yy - mean_y**2, 0)


def group_gains(bank: Bank) -> tuple[np.ndarray, np.ndarray, float]:
    """What each added group of ``load_bank(queries, GROUPS)`` did to the mean loss of the queries.

    The groups' members, bool [n_groups, n_pool]; their gains [n_groups], by how much the loss fell in logD², averaged
    over seeds; and the noise, a gain's standard deviation by the seeds alone, from the subsets that add nothing.
    """
    losses, adds = bank.losses().mean(axis=2), bank.members.any(axis=1)
    without = losses[~adds]  # [n_without, n_seeds]
    if without.size < 2:
        raise DataError("a bank of groups needs two models or more that were trained without a group")
    noise = without.std(ddof=1) * math.sqrt(1 / losses.shape[1] + 1 / without.size)
    return bank.members[adds], without.mean() - losses[adds].mean(axis=1), float(noise)


def over_models(values: ArrayLike, intervals: ArrayLike) -> tuple[float, tuple[float, float]]:
    """The mean LDS over scored models, with a 95 % interval that includes how much the models differ.

    Parameters
    ----------
    values : array [n_models]
        The LDS of each model's scores, or the paired difference of two.
    intervals : array [n_models, 2]
        Its 95 % interval over queries and subsets. These are the same for all models, so their part of the variance
        stays whole; that between models is divided by their number. Satterthwaite's (1946) degrees of freedom. One
        model keeps its own interval.
    """
    found, ends = np.asarray(values, dtype=float), np.asarray(intervals, dtype=float)
    if len(found) == 1:
        return float(found[0]), (float(ends[0, 0]), float(ends[0, 1]))
    shared = ((np.diff(ends)[:, 0] / 2 / scipy.stats.norm.ppf(0.975)) ** 2).mean()
    between = found.var(ddof=1) / len(found)
    freedom = (shared + between) ** 2 * (len(found) - 1) / between**2 if between > 0 else np.inf
    half_width = scipy.stats.t.ppf(0.975, freedom) * (shared + between) ** 0.5
    return float(found.mean()), (float(found.mean() - half_width), float(found.mean() + half_width))


def built_in_scores() -> pd.DataFrame:
    """The built-in scores as reported in ``data/results/lds.csv``, best first: means over the scored models.

    ``damping``, a share of the largest eigenvalue (0 where there is none), is that with the best ``LDS on validation``;
    ``LDS`` and its interval ``low`` to ``high`` (:func:`over_models`) are over the test molecules, of which there are
    ``queries``.
    """
    found = []
    for (score, damping), rows in load_results("lds").groupby(["score", "damping"]):
        value, (low, high) = over_models(rows["test"], rows[["low", "high"]])
        means = {"queries": rows["n_queries"].mean(), "LDS on validation": rows["validation"].mean()}
        found.append({"score": score, "damping": damping, "LDS": value, "low": low, "high": high, **means})
    best = pd.DataFrame(found).sort_values("LDS on validation").groupby("score").tail(1)
    return best.set_index("score").sort_values("LDS", ascending=False)


def grade(scores: ArrayLike, name: str = "yours") -> pd.DataFrame:
    """Grade scores by real retraining: the rows of :func:`built_in_scores` and this one, best first.

    Parameters
    ----------
    scores : array [840, 3324]
        For each test molecule (in the order of the random split with seed 42) the score of each training molecule: the
        training split, followed by the secondary set. Positive: having it lowers that test molecule's loss.
    name
        The name of the row.
    """
    found = lds(scores, load_bank())
    print(f"{name}: {found}")
    low, high = found.interval
    row = {"damping": np.nan, "LDS": found.value, "low": low, "high": high, "queries": len(found.per_query)}
    yours = pd.DataFrame([row], index=pd.Index([name], name="score"))
    return pd.concat([built_in_scores(), yours]).sort_values("LDS", ascending=False)
