"""Rivals of TS-DShapley: each equal to its definition, by enumeration or by refits."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import betabinom
from sklearn.linear_model import Ridge

from molft_utils import DataError
from molft_utils.shapley import (
    banzhaf_values,
    beta_values,
    exact_values,
    knn_values,
    leave_one_out,
    out_of_bag,
    out_of_fold,
    permutation_values,
)


def knn_utility(X, y, X_val, y_val, k):
    def utility(players):
        chosen = np.array(players, dtype=int)
        errors = []
        for query, target in zip(X_val, y_val, strict=True):
            near = chosen[np.argsort(((X[chosen] - query) ** 2).sum(axis=1), kind="stable")[:k]]
            errors.append((y[near].sum() / k - target) ** 2)
        return -float(np.mean(errors))

    return utility


@pytest.mark.parametrize("n, k", [(1, 1), (2, 1), (2, 2), (3, 2), (7, 1), (7, 3), (7, 7), (9, 5)])
def test_knn_values_equal_enumeration(problem, n, k):
    X, y, X_val, y_val = problem(n, d=3, q=6) if n > 1 else ([[0.5]], [1.0], [[1.0]], [0.2])
    X, y, X_val, y_val = map(np.asarray, (X, y, X_val, y_val))
    if n == 1:
        with pytest.raises(DataError, match="all 1 training labels"):
            knn_values(X, y, X_val, y_val, k=k)
        return
    exact = exact_values(knn_utility(X, y, X_val, y_val, k), n)
    assert np.abs(knn_values(X, y, X_val, y_val, k=k) - exact).max() < 1e-10


def test_knn_values_are_efficient_on_many_molecules(problem):
    data = problem(300, d=8, q=40)
    utility = knn_utility(*data, k=5)
    assert knn_values(*data, k=5).sum() == pytest.approx(utility(tuple(range(300))) - utility(()), abs=1e-10)


def test_leave_one_out_is_a_refit_without(problem, ridge_utility):
    data = problem(20, d=4)
    utility = ridge_utility(*data, alpha=0.7)
    whole = utility(tuple(range(20)))
    refits = [whole - utility(tuple(j for j in range(20) if j != i)) for i in range(20)]
    assert np.abs(leave_one_out(*data, alpha=0.7) - refits).max() < 1e-10


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
    assert np.abs(banzhaf_values(*data, n_permutations=None) - expected).max() < 1e-10


@pytest.mark.parametrize("a, b", [(1, 4), (4, 1), (1, 16)])
def test_beta_values_weigh_by_size(problem, ridge_utility, a, b):
    data = problem(6, d=3, q=10)
    # Kwon & Zou, equation 3: B(j + b - 1, n - j + a) / B(a, b) for each coalition of j - 1 others.
    beta = lambda p, q: math.gamma(p) * math.gamma(q) / math.gamma(p + q)  # noqa: E731
    share = [math.comb(5, size) * beta(size + b, 5 - size + a) / beta(a, b) for size in range(6)]
    assert sum(share) == pytest.approx(1) and share == pytest.approx(betabinom.pmf(np.arange(6), 5, b, a))
    assert (share[-1] > share[0]) == (b > a)
    expected = weighted_by_size(ridge_utility(*data), 6, share)
    assert np.abs(beta_values(*data, a, b, n_permutations=None) - expected).max() < 1e-10


def test_beta_of_ones_is_shapley(problem):
    data = problem(6, d=3, q=10)
    exact = permutation_values(*data, n_permutations=None).values
    assert np.abs(beta_values(*data, 1, 1, n_permutations=None) - exact).max() < 1e-12


def test_sampled_semivalues_approach_the_exact_ones(problem):
    data = problem(8, d=3, q=10)
    exact = banzhaf_values(*data, n_permutations=None)
    errors = [np.abs(banzhaf_values(*data, n_permutations=n) - exact).max() for n in (20, 5000)]
    assert errors[1] < 0.2 * errors[0] and errors[1] < 0.05 * np.abs(exact).max()


def test_orders_of_a_subset_are_those_of_a_smaller_game(problem):
    data = problem(40)
    small = banzhaf_values(*data, n_permutations=400, subset_size=10)
    assert small.shape == (40,) and np.isfinite(small).all()
    with pytest.raises(DataError, match="was never weighed"):
        banzhaf_values(*data, n_permutations=1, subset_size=10)


def test_out_of_fold_is_the_error_of_a_ridge_that_never_saw_the_molecule(problem):
    X, y, _, _ = problem(30)
    found = out_of_fold(X, y, n_folds=30)
    for i in (0, 29):
        rest = np.arange(30) != i
        assert found[i] == pytest.approx(-((Ridge().fit(X[rest], y[rest]).predict(X[[i]])[0] - y[i]) ** 2))


@pytest.mark.parametrize("value", [out_of_fold, out_of_bag])
def test_a_wrong_label_has_the_lowest_value(problem, value):
    X, y, _, _ = problem(60)
    y[7] += 8
    assert value(X, y).argmin() == 7
    assert np.array_equal(value(X, y, seed=3), value(X, y, seed=3))


def test_senseless_parameters_are_refused(problem):
    data = problem(10)
    with pytest.raises(DataError, match="k is 11"):
        knn_values(*data, k=11)
    with pytest.raises(DataError, match="no distribution"):
        beta_values(*data, 0, 1, n_permutations=3)
    with pytest.raises(DataError, match="alpha is 0"):
        leave_one_out(*data, alpha=0)
    with pytest.raises(DataError, match="in every bootstrap sample"):
        out_of_bag(*data[:2], n_models=1)


@pytest.mark.parametrize("kind", ["banzhaf", "beta", "leave-one-out"])
def test_agrees_with_pydvl(problem, kind):
    valuation = pytest.importorskip(
        "pydvl.valuation",
        reason="pyDVL is absent: pip install cvxpy pyDeprecate more-itertools, pip install --no-deps pydvl",
        exc_type=ImportError,
    )
    data = problem(6, d=3, q=20)
    X, y, X_val, y_val = data
    train, test = (valuation.Dataset(a, b, np.arange(a.shape[1]), None) for a, b in ((X, y), (X_val, y_val)))
    default = -float(np.mean((y_val - y.mean()) ** 2))
    scorer = valuation.SupervisedScorer(
        lambda model, x, labels: -float(np.mean((model.predict(x) - labels) ** 2)), test, default, (-np.inf, 0)
    )
    utility, every = valuation.ModelUtility(Ridge(alpha=1.0), scorer), valuation.DeterministicUniformSampler()
    done = valuation.NoStopping()
    theirs, ours = {
        "banzhaf": lambda: (
            valuation.BanzhafValuation(utility, every, done, progress=False),
            banzhaf_values(*data, n_permutations=None),
        ),
        "beta": lambda: (
            valuation.BetaShapleyValuation(utility, every, done, 2, 5, progress=False),
            beta_values(*data, 2, 5, n_permutations=None),
        ),
        "leave-one-out": lambda: (valuation.LOOValuation(utility, progress=False), leave_one_out(*data)),
    }[kind]()
    found = theirs.fit(train).result
    np.testing.assert_allclose(ours, found.values[np.argsort(found.indices)], atol=1e-9)
