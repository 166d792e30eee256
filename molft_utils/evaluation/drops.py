"""Scores of training molecules, graded by size: by how much does a loss change when molecules are dropped?

The LDS grades ranks, over trainings with fresh seeds on random halves. The bank of drops repeats *one* training, with
the same start and order, and 1, 5 or 10 % of its molecules at weight 0. The changes of its losses can be predicted by
sums of scores in rank and in size.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ..errors import DataError
from .banks import Bank
from .metrics import N_BOOTSTRAP, percentile_interval, resamples
from .retraining import centred_ranks, checked_scores, weighted_correlation, weighted_moments


def grade_drops(scores: ArrayLike, bank: Bank, label_std: float, mean: bool = False, seed: int = 0) -> pd.DataFrame:
    """Compare the changes of losses that scores predict with the real ones, for each share of dropped molecules.

    Without the molecules D the loss of a query should rise by sum_{i in D} score_i / n_train. Over the subsets of a
    share, the predicted changes are compared with those of the bank, both in logD².

    Parameters
    ----------
    scores : array [n_queries, n_train]
        In squared standard deviations of the labels, as those of a :class:`~molft_utils.influence.Kernel` and of
        :func:`~molft_utils.influence.unrolled_scores`. Positive: having that molecule lowers that query's loss.
    bank
        ``load_bank("validation", DROPS)`` or ``load_bank("test", DROPS)``, or part of it (``bank.some(40)``).
    label_std
        Standard deviation of the training labels, in logD.
    mean
        The scores [1, n_train] are for the mean loss of all queries of the bank.

    Returns
    -------
    One row for each share (to the nearest per cent) with ``pearson``, ``spearman`` and ``slope``, each followed by the
    ends of its 95 % bootstrap interval (``pearson_low``, ``pearson_high``); ``n_subsets`` and ``n_queries``. They are
    medians over the queries, and the intervals are over queries and subsets.

    Notes
    -----
    ``slope`` is that of the least-squares line of the real on the predicted changes: 1 if the size is right, above 1 if
    the scores are too small. The line has an intercept. All subsets of a share have the same number of molecules, and
    the second order, which no score has, adds to each about the same; that says nothing about which were dropped.
    """
    losses = bank.losses().mean(axis=1)  # [n_subsets, n_queries]
    losses = losses.mean(axis=1, keepdims=True) if mean else losses
    values, dropped = checked_scores(scores, bank, losses.shape[1]), ~bank.members
    whole = ~dropped.any(axis=1)
    if not whole.any():
        raise DataError("no model of this bank was trained on all molecules, so no change is known; load DROPS")
    real = (losses - losses[whole].mean(axis=0)).T  # [n_queries, n_subsets]
    predicted = label_std**2 / dropped.shape[1] * values @ dropped.T
    shares = dropped.mean(axis=1).round(2)
    rows = {share: _agreement(predicted[:, shares == share], real[:, shares == share], seed) for share in set(shares)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("share").sort_index().drop(index=0.0)


def _agreement(predicted: np.ndarray, real: np.ndarray, seed: int) -> dict[str, float]:
    """Medians over queries of three statistics of the rows of predicted and real [n_queries, n_subsets]."""
    n_queries, n_subsets = real.shape
    # The first sample is everything; the others draw subsets, as weights, and queries, as row numbers.
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones(n_subsets), resamples(n_subsets, rng)])
    queries = np.vstack([np.arange(n_queries), rng.integers(n_queries, size=(N_BOOTSTRAP, n_queries))])
    (x, size_x), (y, size_y) = _standardised(predicted), _standardised(real)
    covariance, variance_x, _ = weighted_moments(x, y, weights)
    slope = np.divide(covariance, variance_x, out=np.zeros_like(covariance), where=variance_x > 1e-9)
    found = {
        "pearson": weighted_correlation(x, y, weights),
        "spearman": weighted_correlation(centred_ranks(predicted), centred_ranks(real), weights),
        "slope": slope * size_y / size_x,
    }
    row: dict[str, float] = {}
    for name, each in found.items():  # [1 + N_BOOTSTRAP, n_queries]
        median, *resampled = np.median(np.take_along_axis(each, queries, axis=1), axis=1)
        low, high = percentile_interval(np.array(resampled))
        row |= {name: median, f"{name}_low": low, f"{name}_high": high}
    return {**row, "n_subsets": n_subsets, "n_queries": n_queries}


def _standardised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows with mean 0 and standard deviation 1, and what they were divided by [n]; constant rows become 0."""
    sizes = values.std(axis=1)
    constant = sizes <= 1e-9 * np.abs(values).max(axis=1)
    sizes = np.where(constant, 1, sizes)
    return np.where(constant[:, None], 0, values - values.mean(axis=1, keepdims=True)) / sizes[:, None], sizes
