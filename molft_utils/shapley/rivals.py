"""What else a molecule's value might be, at the price of TS-DShapley or less. High means helpful in all of them."""

from collections.abc import Iterable

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import betabinom, binom
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from ..errors import DataError
from .checks import require_penalty, require_problem
from .marginals import RidgeGame
from .sampling import all_orders, draw_orders


def knn_values(X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray, *, k: int = 5) -> np.ndarray:
    """Exact Shapley values [n] of a k-nearest-neighbour regression (Jia et al. 2019, arXiv:1908.08619, theorem 6).

    The utility of a set is -(mean label of its k members nearest to the query - the query's label)², averaged over the
    validation molecules; of fewer than k members, the sum is divided by k all the same. Sorting is what costs.

    Parameters
    ----------
    X [n, d], y [n], X_val [q, d], y_val [q]
        Representations and labels of the training and the validation molecules; distances are Euclidean.
    k
        From 1 to n.

    Raises
    ------
    DataError
        If shapes disagree, a number is not finite, all labels are equal, or k is outside its range.
    """
    require_problem(X, y, X_val, y_val)
    if not 1 <= k <= len(y):
        raise DataError(f"k is {k}; it must be between 1 and the number of molecules, {len(y)}")
    total = np.zeros(len(y))
    for distances, target in zip(cdist(X_val, X), y_val, strict=True):
        order = np.argsort(distances, kind="stable")
        total[order] += _knn_values_of_one(y[order], target, k)
    return total / len(y_val)


def _knn_values_of_one(y: np.ndarray, target: float, k: int) -> np.ndarray:
    """The values [n] for one query, whose neighbours' labels y come from the nearest to the furthest.

    The furthest molecule's value is direct; from a molecule to the next nearer one the value changes by a sum over all
    others, of which those nearer and those further each enter with a weight that depends on the place alone.
    """
    n = len(y)
    place = np.arange(1, n + 1)
    last = -((y[-1] / k - target) ** 2) / n + target**2 / n
    if n > 1:
        last -= (k - 1) / (n * k) * y[-1] * (y[-1] / k - 2 * target + y[:-1].sum() / (n - 1))
    i = place[:-1]  # the step from molecule i + 1 to molecule i
    nearer = np.minimum(k - 1, i - 1) / np.maximum(i - 1, 1) * np.concatenate([[0], np.cumsum(y)[: n - 2]])
    weight = np.minimum(k, place - 1) * np.minimum(k - 1, place - 2) / np.maximum((place - 1) * (place - 2), 1)
    beyond = np.cumsum((weight * y)[::-1])[::-1]  # sums over all from a place on
    further = i / np.minimum(k, i) * np.append(beyond[2:], 0)
    others = nearer + y[:-1] + y[1:] + further
    steps = (y[1:] - y[:-1]) / k * np.minimum(k, i) / i * (others / k - 2 * target)
    return np.append(last + np.cumsum(steps[::-1])[::-1], last)


def leave_one_out(
    X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray, *, alpha: float = 1.0
) -> np.ndarray:
    """By how much the ridge's validation error would rise without each molecule: [n], exact, from one inverse.

    With h_i the leverage of molecule i and e_i its residual, a refit without it predicts f(v) - g_vi e_i / (1 - h_i).

    Raises
    ------
    DataError
        As :func:`permutation_values`.
    """
    require_problem(X, y, X_val, y_val)
    require_penalty(alpha)
    X1, V1 = (np.column_stack([features, np.ones(len(features))]) for features in (X, X_val))
    penalty = alpha * np.eye(X1.shape[1])
    penalty[-1, -1] = 0  # the intercept is free
    solved = np.linalg.solve(X1.T @ X1 + penalty, X1.T)  # [d + 1, n]
    residuals, leverage = y - X1 @ (solved @ y), np.einsum("ij,ji->i", X1, solved)
    error = V1 @ (solved @ y) - y_val
    without = error[:, None] - V1 @ solved * (residuals / (1 - leverage))
    return (without**2).mean(axis=0) - (error**2).mean()


def out_of_fold(X: np.ndarray, y: np.ndarray, *, alpha: float = 1.0, n_folds: int = 5, seed: int = 0) -> np.ndarray:
    """Minus the squared error [n] of each molecule by a ridge that was trained on the other folds."""
    require_penalty(alpha)
    folds = KFold(n_folds, shuffle=True, random_state=seed)
    return -((cross_val_predict(Ridge(alpha=alpha), X, y, cv=folds) - y) ** 2)


def out_of_bag(X: np.ndarray, y: np.ndarray, *, alpha: float = 1.0, n_models: int = 200, seed: int = 0) -> np.ndarray:
    """Minus the mean squared error [n] by those ridges on bootstrap samples that lack it (Data-OOB, Kwon & Zou 2023,
    arXiv:2304.07718).

    Raises
    ------
    DataError
        If a molecule is in every sample.
    """
    require_penalty(alpha)
    rng, n = np.random.default_rng(seed), len(y)
    sums, counts = np.zeros(n), np.zeros(n)
    for _ in range(n_models):
        drawn = rng.integers(n, size=n)
        out = np.setdiff1d(np.arange(n), drawn)
        sums[out] += (Ridge(alpha=alpha).fit(X[drawn], y[drawn]).predict(X[out]) - y[out]) ** 2
        counts[out] += 1
    if not counts.all():
        raise DataError(f"molecule {counts.argmin()} is in every bootstrap sample; use more than {n_models} models")
    return -sums / counts


def banzhaf_values(
    X: np.ndarray,
    y: np.ndarray,
    X_val: np.ndarray,
    y_val: np.ndarray,
    *,
    alpha: float = 1.0,
    n_permutations: int | None,
    subset_size: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Data Banzhaf values [n] (Wang & Jia 2023, arXiv:2205.15466): every coalition of the others counts the same.

    Parameters are those of :func:`semivalues`.
    """
    size = subset_size or len(y)
    weights = binom.pmf(np.arange(size), size - 1, 0.5)
    return semivalues(X, y, X_val, y_val, weights, alpha=alpha, n_permutations=n_permutations, seed=seed)


def beta_values(
    X: np.ndarray,
    y: np.ndarray,
    X_val: np.ndarray,
    y_val: np.ndarray,
    a: float,
    b: float,
    *,
    alpha: float = 1.0,
    n_permutations: int | None,
    subset_size: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Beta Shapley values [n] (Kwon & Zou 2022, arXiv:2110.14049): Beta(1, 1) is Shapley's; a large ``b`` favours large
    coalitions, a large ``a`` small ones.

    Other parameters are those of :func:`semivalues`.

    Raises
    ------
    DataError
        Also unless a and b are above zero.
    """
    if not (a > 0 and b > 0):
        raise DataError(f"Beta({a}, {b}) is no distribution; both numbers must be above zero")
    size = subset_size or len(y)
    weights = betabinom.pmf(np.arange(size), size - 1, b, a)
    return semivalues(X, y, X_val, y_val, weights, alpha=alpha, n_permutations=n_permutations, seed=seed)


def semivalues(
    X: np.ndarray,
    y: np.ndarray,
    X_val: np.ndarray,
    y_val: np.ndarray,
    weights: np.ndarray,
    *,
    alpha: float = 1.0,
    n_permutations: int | None,
    seed: int = 0,
) -> np.ndarray:
    """Means of marginal contributions, weighted by the number of molecules that came before: [n].

    Parameters
    ----------
    X [n, d], y [n], X_val [q, d], y_val [q], alpha
        As :func:`permutation_values`.
    weights [m]
        For each number of molecules that came before, from 0 to m - 1. With m below n, each order is a random subset's.
    n_permutations
        None: every order, for up to nine molecules; the values are then exact.

    Raises
    ------
    DataError
        As :func:`permutation_values`, and if a molecule never had a weight above zero.
    """
    require_problem(X, y, X_val, y_val)
    require_penalty(alpha)
    n, size = len(y), len(weights)
    if not 2 <= size <= n:
        raise DataError(f"orders of {size} molecules; there are {n}, and at least 2 are needed")
    orders: Iterable[np.ndarray] = (
        all_orders(n)
        if n_permutations is None
        else draw_orders(n, n_permutations, "plain", np.random.default_rng(seed))
    )
    game = RidgeGame.from_features(X, y, X_val, y_val, alpha, float(np.mean(y)))
    sums, totals = np.zeros(n), np.zeros(n)
    for order in orders:
        head = order[:size]
        sums[head] += weights * np.diff(game.path(head))
        totals[head] += weights
    if not (totals > 0).all():
        raise DataError(f"molecule {totals.argmin()} was never weighed; use more permutations")
    return sums / totals
