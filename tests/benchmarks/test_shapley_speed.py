"""`make bench`: marginal contributions by prefix Cholesky against refitting scikit-learn's Ridge, in one run."""

import math
import time

import numpy as np
from sklearn.linear_model import Ridge

from molft_utils.shapley import exact_values, permutation_values, prefix_utilities

N, D, Q = 300, 256, 256


def test_prefix_cholesky_is_fifty_times_as_fast_as_refitting():
    rng = np.random.default_rng(0)
    X, X_val = rng.normal(size=(N, D)), rng.normal(size=(Q, D))
    y, y_val = X[:, 0] + rng.normal(size=N), X_val[:, 0] + rng.normal(size=Q)
    kernel, kernel_val, order = X @ X.T, X @ X_val.T, rng.permutation(N)

    def fast() -> np.ndarray:
        return prefix_utilities(kernel, kernel_val, y, y_val, order, alpha=1.0)

    def slow() -> np.ndarray:
        fits = (Ridge(alpha=1.0).fit(X[order[:k]], y[order[:k]]) for k in range(1, N + 1))
        return np.array([-np.mean((fit.predict(X_val) - y_val) ** 2) for fit in fits])

    assert np.allclose(fast(), slow(), rtol=1e-8)
    seconds = {}
    for name, walk in (("prefix Cholesky", fast), ("refitting", slow)):
        runs = []
        for _ in range(5):
            began = time.perf_counter()
            walk()
            runs.append(time.perf_counter() - began)
        seconds[name] = min(runs)
        print(f"\n{name}: {1e6 * seconds[name] / N:.1f} µs a marginal contribution", end="")
    ratio = seconds["refitting"] / seconds["prefix Cholesky"]
    print(f"\nprefix Cholesky is {ratio:.0f} times as fast")
    assert ratio >= 50


def test_nine_players_equal_enumeration():
    rng = np.random.default_rng(1)
    X, y, X_val, y_val = rng.normal(size=(9, 3)), rng.normal(size=9), rng.normal(size=(6, 3)), rng.normal(size=6)

    def utility(players: tuple[int, ...]) -> float:
        if not players:
            return -np.mean((y_val - y.mean()) ** 2)
        return -np.mean((Ridge().fit(X[list(players)], y[list(players)]).predict(X_val) - y_val) ** 2)

    values = permutation_values(X, y, X_val, y_val, n_permutations=None)
    exact = exact_values(utility, 9)
    difference = np.abs(values.values - exact).max() / np.abs(exact).max()
    print(f"\n{math.factorial(9):,} orders against 512 coalitions: differ by {difference:.1e} of the largest value")
    assert difference < 1e-12
