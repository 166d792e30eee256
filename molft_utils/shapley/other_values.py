"""Other data values at comparable cost. High means helpful in all of them.

``X, y, X_val, y_val, alpha`` are those of :func:`permutation_values`: representations [n, d] and labels [n] of the
training molecules, [q, d] and [q] of the validation molecules, and the ridge's penalty. Bad input raises a DataError.
"""

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import betabinom, binom
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from ..errors import DataError
from .ts_dshapley import check_alpha, check_problem, draw_permutations, sum_marginals, utility_of_empty


def knn_values(X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray, *, k: int = 5) -> np.ndarray:
    """KNN-Shapley: exact Shapley values [n] of a k-nearest-neighbour regression (Jia et al. 2019, arXiv:1908.08619).

    The utility of a coalition is -(1/k sum of the labels of its k members nearest to the query - the query's label)²,
    averaged over the validation molecules; a coalition of fewer than k members is divided by k as well. Distances are
    Euclidean, k is from 1 to n.
    """
    check_problem(X, y, X_val, y_val)
    if not 1 <= k <= len(y):
        raise DataError(f"k is {k}; it must be between 1 and the number of molecules, {len(y)}")
    total = np.zeros(len(y))
    for distances, y_test in zip(cdist(X_val, X), y_val, strict=True):
        alpha = np.argsort(distances, kind="stable")  # the theorem's alpha_1, ..., alpha_N, the nearest first
        total[alpha] += _theorem_6(y[alpha], y_test, k)
    return total / len(y_val)


def _theorem_6(y: np.ndarray, y_test: float, K: int) -> np.ndarray:
    """Values s [N] for one query, from its neighbours' labels y [N], the nearest first (Jia et al. 2019, theorem 6)."""
    N = len(y)
    # The furthest: s_N = -(K-1)/(NK) y_N [y_N/K - 2 y_test + 1/(N-1) sum_{l<N} y_l] - 1/N (y_N/K - y_test)² + y_test²/N
    s_N = -((y[-1] / K - y_test) ** 2) / N + y_test**2 / N
    s_N -= (K - 1) / (N * K) * y[-1] * (y[-1] / K - 2 * y_test + y[:-1].sum() / (N - 1))
    # The sum over l of A_i^(l) y_l, for i = 1, ..., N - 1 at once, has three parts:
    i = np.arange(1, N)
    # l < i: A = min(K-1, i-1) / (i-1), and a running sum of y
    nearer = np.minimum(K - 1, i - 1) / np.maximum(i - 1, 1) * np.concatenate([[0], np.cumsum(y)[: N - 2]])
    # l > i+1: A = min(K, l-1) min(K-1, l-2) / ((l-1)(l-2)) * i / min(K, i), and a running sum from the end
    ell = np.arange(1, N + 1)
    A = np.minimum(K, ell - 1) * np.minimum(K - 1, ell - 2) / np.maximum((ell - 1) * (ell - 2), 1)
    from_the_end = np.cumsum((A * y)[::-1])[::-1]
    further = i / np.minimum(K, i) * np.append(from_the_end[2:], 0)
    # l = i and l = i+1: A = 1
    sum_A_y = nearer + y[:-1] + y[1:] + further
    # s_i - s_{i+1} = 1/K (y_{i+1} - y_i) min(K, i)/i (1/K sum_l A_i^(l) y_l - 2 y_test), added up from the furthest
    differences = (y[1:] - y[:-1]) / K * np.minimum(K, i) / i * (sum_A_y / K - 2 * y_test)
    return np.append(s_N + np.cumsum(differences[::-1])[::-1], s_N)


def leave_one_out(
    X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray, *, alpha: float = 1.0
) -> np.ndarray:
    """By how much the ridge's validation MSE would rise without each molecule: [n], exact, without a refit.

    With the hat matrix H = X (X^T X + P)^-1 X^T, the leverage h_i = H_ii and the residual e_i of molecule i, the ridge
    without i has the coefficients beta - (X^T X + P)^-1 x_i e_i / (1 - h_i) (Sherman-Morrison).
    """
    check_problem(X, y, X_val, y_val, alpha)
    X1, V1 = (np.column_stack([features, np.ones(len(features))]) for features in (X, X_val))
    P = alpha * np.eye(X1.shape[1])
    P[-1, -1] = 0  # the intercept is not penalised
    solved = np.linalg.solve(X1.T @ X1 + P, X1.T)  # (X^T X + P)^-1 X^T [d + 1, n]
    beta = solved @ y
    residuals, leverage = y - X1 @ beta, np.einsum("ij,ji->i", X1, solved)
    errors = V1 @ beta - y_val  # [q]
    errors_without = errors[:, None] - V1 @ solved * (residuals / (1 - leverage))  # [q, n]
    return (errors_without**2).mean(axis=0) - (errors**2).mean()


def out_of_fold(X: np.ndarray, y: np.ndarray, *, alpha: float = 1.0, n_folds: int = 5, seed: int = 0) -> np.ndarray:
    """Minus the squared error [n] of each molecule by a ridge that was trained on the other folds."""
    check_alpha(alpha)
    folds = KFold(n_folds, shuffle=True, random_state=seed)
    return -((cross_val_predict(Ridge(alpha=alpha), X, y, cv=folds) - y) ** 2)


def out_of_bag(X: np.ndarray, y: np.ndarray, *, alpha: float = 1.0, n_models: int = 200, seed: int = 0) -> np.ndarray:
    """Data-OOB [n] (Kwon & Zou 2023, arXiv:2304.07718): minus the mean squared error of each molecule by the ridges
    whose bootstrap sample lacks it."""
    check_alpha(alpha)
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

    There are C(m - 1, j) coalitions of j of the m - 1 others, hence the binomial weights of :func:`semivalues`.
    """
    m = subset_size or len(y)
    weights = binom.pmf(np.arange(m), m - 1, 0.5)
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
    """Beta Shapley values [n] (Kwon & Zou 2022, arXiv:2110.14049), as :func:`semivalues`.

    Beta(1, 1) is Shapley's; a large ``b`` favours large coalitions, a large ``a`` small ones; both are above zero.
    """
    if not (a > 0 and b > 0):
        raise DataError(f"Beta({a}, {b}) is no distribution; both numbers must be above zero")
    m = subset_size or len(y)
    weights = betabinom.pmf(np.arange(m), m - 1, b, a)
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
    """Means [n] of marginal contributions, weighted by the size of the coalition that a molecule joins.

    Parameters
    ----------
    weights [m]
        Of the sizes 0 to m - 1. With m below n, the first m molecules of each permutation are a random subset.
    n_permutations
        None: every permutation, for up to nine molecules; the values are then exact.
    """
    check_problem(X, y, X_val, y_val, alpha)
    n, m = len(y), len(weights)
    if not 2 <= m <= n:
        raise DataError(f"subset_size is {m}; it must be between 2 and the number of molecules, {n}")
    heads = (permutation[:m] for permutation in draw_permutations(n, n_permutations, np.random.default_rng(seed)))
    sums, _, totals = sum_marginals(X, y, X_val, y_val, heads, alpha, utility_of_empty(y, y_val), 0.0, weights)
    if not (totals > 0).all():
        raise DataError(f"molecule {totals.argmin()} has no marginal contribution; use more permutations")
    return sums / totals
