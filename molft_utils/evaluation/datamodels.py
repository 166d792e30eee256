"""Scores of training molecules graded by a bank of retrained models: the LDS, and the gain of a group.

The linear datamodelling score (Park et al. 2023, arXiv:2303.14186, section 2) retrains a model on many random halves of
its training data. A query molecule's loss after such a retraining is predicted by the sum of the scores of the
molecules that were in the half; the LDS is the rank correlation of the two over the halves, averaged over queries.
"""

import dataclasses
import itertools
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from ..errors import DataError
from .intervals import N_BOOTSTRAP, percentile_interval
from .retraining import Bank


@dataclasses.dataclass(frozen=True)
class LDS:
    """A linear datamodelling score: 1 ranks all retrainings rightly, 0 is chance.

    Attributes
    ----------
    value
        Mean over the queries.
    interval
        Its 95 % bootstrap interval over queries and complementary pairs of subsets.
    ceiling
        What retraining says of itself: the same correlation, with the loss of half of the seeds in place of the
        prediction, against the other half's; nan if there is one seed only.
    per_query : float [n_queries]
        The score of each query.
    """

    value: float
    interval: tuple[float, float]
    ceiling: float
    per_query: np.ndarray

    def __str__(self) -> str:
        low, high = self.interval
        return f"LDS {self.value:.3f} [{low:.3f}, {high:.3f}]; retraining itself reaches {self.ceiling:.3f}"


def group_gains(bank: Bank) -> tuple[np.ndarray, np.ndarray, float]:
    """What each added group of molecules did to the mean loss of the queries.

    Parameters
    ----------
    bank
        ``load_bank(queries, GROUPS)``: subsets that are groups, and some that add nothing.

    Returns
    -------
    members : bool [n_groups, n_pool]
    gains : float [n_groups]
        By how much the loss fell, in logD², averaged over seeds; positive means helpful.
    noise : float
        Standard deviation of a gain by the seeds alone, from the subsets that add nothing.

    Raises
    ------
    DataError
        If no subset adds nothing, or only one model does.
    """
    losses, adds = bank.losses().mean(axis=2), bank.members.any(axis=1)
    nothing = losses[~adds]
    if nothing.size < 2:
        raise DataError("a bank of groups needs two models or more that were trained without a group")
    sd = nothing.std(ddof=1)
    noise = sd * math.sqrt(1 / losses.shape[1] + 1 / nothing.size)
    return bank.members[adds], nothing.mean() - losses[adds].mean(axis=1), float(noise)


def lds(scores: ArrayLike, bank: Bank, seed: int = 0) -> LDS:
    """Grade scores by the retrained models of a bank.

    Parameters
    ----------
    scores : array [n_queries, n_train]
        Positive where having that training molecule lowers that query's loss, in the bank's order.
    bank
        Real retrainings.
    seed
        Fixes the resamples.

    Raises
    ------
    DataError
        If the shape does not fit the bank, or a score is not finite.
    """
    per_query, resampled = _graded(scores, bank, seed)
    return LDS(float(per_query.mean()), percentile_interval(resampled), ceiling(bank.losses()), per_query)


def lds_difference(a: ArrayLike, b: ArrayLike, bank: Bank, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """LDS of scores a minus that of scores b, and its 95 % interval over the same resamples of queries and subsets.

    Paired: most of what makes one LDS uncertain, which subsets were drawn, is common to both. Otherwise as
    :func:`lds`.

    Raises
    ------
    DataError
        As :func:`lds`.
    """
    (per_query_a, resampled_a), (per_query_b, resampled_b) = (_graded(scores, bank, seed) for scores in (a, b))
    return float((per_query_a - per_query_b).mean()), percentile_interval(resampled_a - resampled_b)


def _graded(scores: ArrayLike, bank: Bank, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The score of each query, and the mean over queries for each resample."""
    values = np.asarray(scores, dtype=float)
    expected = (len(bank.labels), bank.members.shape[1])
    if values.shape != expected:
        raise DataError(f"scores have shape {values.shape}; this bank needs {expected}: queries, training molecules")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise DataError(f"the score of training molecule {column} for query {row} is not finite")
    predicted = -values @ bank.members.T.astype(float)
    return _rank_correlations(predicted, bank.losses().mean(axis=1).T, seed)


def ceiling(losses: np.ndarray) -> float:
    """Rank correlation of half of the seeds with the others, for losses [n_subsets, n_seeds, n_queries].

    Averaged over queries and over the ways to halve the seeds; of an odd number, one half has one more.
    """
    n_seeds = losses.shape[1]
    if n_seeds < 2:
        return float("nan")
    found = []
    for chosen in itertools.combinations(range(n_seeds), n_seeds // 2):
        others = [s for s in range(n_seeds) if s not in chosen]
        one, other = (_centred_ranks(losses[:, list(part)].mean(axis=1).T) for part in (chosen, others))
        found.append(_weighted_correlation(one, other, np.ones((1, len(losses)))).mean())
    return float(np.mean(found))


def _rank_correlations(a: np.ndarray, b: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rank correlation of each row of a and b [n_queries, n_subsets], and the mean over rows for each resample.

    Resamples draw rows, and pairs of neighbouring columns. Ranks are those among all columns.
    """
    ranks = _centred_ranks(a), _centred_ranks(b)
    n_rows, n_columns = a.shape
    rng = np.random.default_rng(seed)
    n_pairs = -(-n_columns // 2)
    pairs = rng.multinomial(n_pairs, np.full(n_pairs, 1 / n_pairs), size=N_BOOTSTRAP)
    rows = rng.multinomial(n_rows, np.full(n_rows, 1 / n_rows), size=N_BOOTSTRAP)
    weights = np.repeat(pairs, 2, axis=1)[:, :n_columns].astype(float)
    resampled = (_weighted_correlation(*ranks, weights) * rows).sum(axis=1) / n_rows
    return _weighted_correlation(*ranks, np.ones((1, n_columns)))[0], resampled


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks within each row, with mean zero; equal values share theirs."""
    return rankdata(values, axis=1) - (values.shape[1] + 1) / 2


def _weighted_correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlation of the rows of x and y [n, m] under each row of weights [k, m]: [k, n], 0 where a row is constant."""
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y, mean_xy, mean_xx, mean_yy = (weights @ v.T / total for v in (x, y, x * y, x * x, y * y))
    spread = np.sqrt(np.maximum(mean_xx - mean_x**2, 0) * np.maximum(mean_yy - mean_y**2, 0))
    return np.divide(mean_xy - mean_x * mean_y, spread, out=np.zeros_like(spread), where=spread > 1e-9)
