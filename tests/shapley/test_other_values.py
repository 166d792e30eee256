"""Other data values: each equal to its definition, by enumeration or by refits."""

import itertools
import math

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from molft_utils import DataError, shapley


def knn_utility(X, y, X_val, y_val, k):
    def utility(players):
        chosen = np.array(players, dtype=int)
        errors = []
        for query, target in zip(X_val, y_val, strict=True):
            near = chosen[np.argsort(((X[chosen] - query) ** 2).sum(axis=1), kind="stable")[:k]]
            errors.append((y[near].sum() / k - target) ** 2)
        return -float(np.mean(errors))

    return utility


@pytest.mark.parametrize("n, k", [(2, 1), (2, 2), (3, 2), (7, 1), (7, 3), (7, 7), (9, 5)])
def test_knn_values_equal_enumeration(problem, n, k):
    data = problem(n, d=3, q=6)
    exact = shapley.exact_values(knn_utility(*data, k), n)
    assert np.abs(shapley.knn_values(*data, k=k) - exact).max() < 1e-10


def test_leave_one_out_is_a_refit_without(problem, ridge_utility):
    data = problem(20, d=4)
    utility = ridge_utility(*data, alpha=0.7)
    utility_of_all = utility(tuple(range(20)))
    refits = [utility_of_all - utility(tuple(j for j in range(20) if j != i)) for i in range(20)]
    assert np.abs(shapley.leave_one_out(*data, alpha=0.7) - refits).max() < 1e-10


def weighted_by_size(utility, n, share_of_size):
    """A semivalue from its definition: ``share_of_size`` is the weight of all coalitions of one size together."""
    values = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for s in itertools.combinations(others, size):
                gain = utility(tuple(sorted((*s, i)))) - utility(s)
                values[i] += share_of_size[size] / math.comb(n - 1, size) * gain
    return values


@pytest.mark.parametrize("n", [3, 6])
def test_banzhaf_counts_every_coalition_the_same(problem, ridge_utility, n):
    data = problem(n, d=3, q=10)
    share = [math.comb(n - 1, size) / 2 ** (n - 1) for size in range(n)]
    expected = weighted_by_size(ridge_utility(*data), n, share)
    assert np.abs(shapley.banzhaf_values(*data, n_permutations=None) - expected).max() < 1e-10


@pytest.mark.parametrize("a, b", [(1, 1), (1, 4), (4, 1)])  # the first is Shapley's
def test_beta_values_weigh_by_size(problem, ridge_utility, a, b):
    data = problem(6, d=3, q=10)
    # Kwon & Zou, equation 3: B(j + b - 1, n - j + a) / B(a, b) for each coalition of j - 1 others.
    beta = lambda p, q: math.gamma(p) * math.gamma(q) / math.gamma(p + q)  # noqa: E731
    share = [math.comb(5, size) * beta(size + b, 5 - size + a) / beta(a, b) for size in range(6)]
    expected = weighted_by_size(ridge_utility(*data), 6, share)
    assert np.abs(shapley.beta_values(*data, a, b, n_permutations=None) - expected).max() < 1e-10


def test_sampled_semivalues_approach_the_exact_ones(problem):
    data = problem(7, d=3, q=10)
    exact = shapley.banzhaf_values(*data, n_permutations=None)
    errors = [np.abs(shapley.banzhaf_values(*data, n_permutations=n) - exact).max() for n in (10, 1000)]
    assert errors[1] < 0.3 * errors[0] and errors[1] < 0.1 * np.abs(exact).max()


def test_semivalues_in_subsets_need_every_molecule(problem):
    data = problem(40)
    small = shapley.banzhaf_values(*data, n_permutations=400, subset_size=10)
    assert small.shape == (40,) and np.isfinite(small).all()
    with pytest.raises(DataError, match="use more permutations"):
        shapley.banzhaf_values(*data, n_permutations=1, subset_size=10)


def test_out_of_fold_is_the_error_of_a_ridge_that_never_saw_the_molecule(problem):
    X, y, _, _ = problem(30)
    found = shapley.out_of_fold(X, y, n_folds=30)
    for i in (0, 29):
        rest = np.arange(30) != i
        assert found[i] == pytest.approx(-((Ridge().fit(X[rest], y[rest]).predict(X[[i]])[0] - y[i]) ** 2))


@pytest.mark.parametrize("value", [shapley.out_of_fold, shapley.out_of_bag])
def test_a_wrong_label_has_the_lowest_value(problem, value):
    X, y, _, _ = problem(60)
    y[7] += 8
    assert value(X, y).argmin() == 7
    assert np.array_equal(value(X, y, seed=3), value(X, y, seed=3))


def test_senseless_parameters_are_refused(problem):
    data = problem(10)
    with pytest.raises(DataError, match="k is 11"):
        shapley.knn_values(*data, k=11)
    with pytest.raises(DataError, match="no distribution"):
        shapley.beta_values(*data, 0, 1, n_permutations=3)
    with pytest.raises(DataError, match="alpha is 0"):
        shapley.leave_one_out(*data, alpha=0)
    with pytest.raises(DataError, match="in every bootstrap sample"):
        shapley.out_of_bag(*data[:2], n_models=1)
