"""Utilities along a permutation: equal to refitted ridges; truncation saves work and costs no more than it says."""

import sys

import numpy as np
import pytest

from molft_utils.shapley import permutation_values, prefix_utilities, ts_dshapley

module = sys.modules["molft_utils.shapley.ts_dshapley"]  # the package's attribute of this name is the function


@pytest.fixture
def factorised(monkeypatch) -> list[int]:
    """The number of rows of every Cholesky factorisation, in turn."""
    rows: list[int] = []

    def counting(kernel, kernel_val, y, y_val, permutation, alpha):
        rows.append(len(permutation))
        return prefix_utilities(kernel, kernel_val, y, y_val, permutation, alpha)

    monkeypatch.setattr(module, "prefix_utilities", counting)
    return rows


@pytest.mark.parametrize("n, d", [(30, 8), (40, 64), (2, 3)])
def test_prefix_utilities_equal_refitted_ridge(problem, ridge_utility, n, d):
    X, y, X_val, y_val = problem(n, d)
    permutation = np.random.default_rng(1).permutation(n)
    fast = prefix_utilities(X @ X.T, X @ X_val.T, y, y_val, permutation, alpha=0.7)
    utility = ridge_utility(X, y, X_val, y_val, alpha=0.7)
    slow = [utility(tuple(permutation[: k + 1])) for k in range(n)]
    assert np.abs(fast - slow).max() < 1e-10 * max(1, np.abs(slow).max())
    head = prefix_utilities(X @ X.T, X @ X_val.T, y, y_val, permutation[: n // 2], alpha=0.7)
    assert np.abs(fast[: n // 2] - head).max() < 1e-12 * max(1, np.abs(slow).max())


def test_truncation_factorises_fewer_rows(problem, factorised):
    data = problem(60)
    permutation_values(*data, n_permutations=20)
    assert factorised == [60] * 20
    factorised.clear()
    permutation_values(*data, n_permutations=20, truncation=0.2)
    assert sum(rows**3 for rows in factorised) < 0.5 * 60**3 * 20  # the operations, but for a constant


def test_each_chain_finds_the_utility_of_its_whole_subset_once(problem, factorised):
    ts_dshapley(*problem(60), n_chains=2, subset_size=30, n_permutations=10, truncation=0.999)
    assert factorised == 2 * [30, *10 * [8]]  # a quarter of a permutation reaches so wide a tolerance


@pytest.mark.parametrize("tolerance", [0.01, 0.05, 0.3])
def test_truncation_zeroes_all_that_follows_the_first_prefix_near_all(problem, ridge_utility, tolerance):
    data = problem(25)
    utility, rng = ridge_utility(*data), np.random.default_rng(7)
    empty, utility_of_all, expected = utility(()), utility(tuple(range(25))), np.zeros(25)
    for permutation in (rng.permutation(25) for _ in range(4)):
        before = empty
        for k, molecule in enumerate(permutation):
            if abs(utility_of_all - before) <= tolerance * abs(utility_of_all - empty):
                break
            after = utility(tuple(permutation[: k + 1]))
            expected[molecule] += (after - before) / 4
            before = after
    found = permutation_values(*data, n_permutations=4, truncation=tolerance, seed=7)
    assert np.abs(found.values - expected).max() < 1e-10
    assert (found.counts == 4).all()
    assert abs(found.values.sum() - (utility_of_all - empty)) <= tolerance * abs(utility_of_all - empty)


def test_a_truncation_smaller_than_rounding_changes_nothing(problem):
    cut, uncut = (permutation_values(*problem(30), n_permutations=5, truncation=t) for t in (1e-30, 0.0))
    assert np.abs(cut.values - uncut.values).max() < 1e-12
