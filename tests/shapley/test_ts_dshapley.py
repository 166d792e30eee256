"""Utilities along a permutation equal refits; sampled values and errors are means, equal on any workers."""

import sys

import joblib
import numpy as np
import pytest
from scipy.stats import sem
from threadpoolctl import threadpool_info, threadpool_limits

from molft_utils import DataError, predict
from molft_utils.molformer import MolformerForSequenceClassification
from molft_utils.shapley import embed, permutation_values, prefix_utilities, ts_dshapley

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


@pytest.mark.parametrize("tolerance", [0.01, 0.3, 1e-30])  # the last is smaller than rounding
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
    assert abs(found.values.sum() - (utility_of_all - empty)) <= tolerance * abs(utility_of_all - empty) + 1e-10


def test_the_standard_error_is_that_of_repeated_runs(problem):
    data = problem(15)
    runs = [permutation_values(*data, n_permutations=100, seed=s) for s in range(40)]
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    claimed = np.mean([run.standard_error for run in runs], axis=0)
    assert np.median(claimed / spread) == pytest.approx(1, abs=0.15)


def test_values_and_errors_are_means_over_the_chains_with_a_molecule(problem):
    X, y, X_val, y_val = problem(20)
    u_empty = -np.mean((y_val - y.mean()) ** 2)
    marginals = [[] for _ in range(20)]
    for chain, first in ((0, 0), (1, 0), (2, 2)):  # two chains per round: the budget of three ends within the second
        subset = np.random.default_rng([5, 3 + first]).permutation(20)[(chain - first) * 10 :][:10]
        rng, kernel, kernel_val = np.random.default_rng([5, chain]), X[subset] @ X[subset].T, X[subset] @ X_val.T
        for permutation in (rng.permutation(10) for _ in range(4)):
            u = prefix_utilities(kernel, kernel_val, y[subset], y_val, permutation, alpha=1.0)
            for i, marginal in zip(subset[permutation], np.diff(u, prepend=u_empty), strict=True):
                marginals[i].append(marginal)
    found = ts_dshapley(X, y, X_val, y_val, n_chains=3, subset_size=10, n_permutations=4, seed=5)
    assert list(found.counts) == list(map(len, marginals)) and set(found.counts) == {4, 8}
    np.testing.assert_allclose(found.values, list(map(np.mean, marginals)), atol=1e-12)
    np.testing.assert_allclose(found.standard_error, list(map(sem, marginals)), atol=1e-12)


def test_every_round_holds_every_molecule(problem):
    plan = dict(n_chains=9, subset_size=20, n_permutations=4)
    assert (ts_dshapley(*problem(60), **plan).counts == 12).all()
    uneven = ts_dshapley(*problem(50), **plan).counts  # three chains per round as well: ten molecules are in two
    assert uneven.min() >= 12 and uneven.sum() == 9 * 20 * 4


def test_what_was_never_counted_is_nan(problem):
    values = permutation_values(*problem(12), n_permutations=1, skip=0.5)
    assert np.array_equal(np.isnan(values.values), values.counts == 0) and values.counts.sum() == 6
    assert np.isnan(values.standard_error).all()


def test_semivalues_are_named(problem):
    plan = dict(n_chains=4, n_permutations=4)
    assert ts_dshapley(*problem(30), subset_size=15, **plan).kind == "semivalue, in subsets of 15"
    assert ts_dshapley(*problem(30), subset_size=30, **plan).kind == "Shapley value"
    clipped = permutation_values(*problem(60), n_permutations=5, skip=0.05)
    assert "semivalue" in clipped.kind and "5%" in clipped.kind
    assert clipped.counts.sum() == 5 * 57


def test_the_seed_decides(problem):
    plan = dict(n_chains=9, subset_size=20, n_permutations=6)
    one, again, other = (ts_dshapley(*problem(50), **plan, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.values, again.values) and np.array_equal(one.standard_error, again.standard_error)
    assert not np.allclose(one.values, other.values)


def test_same_values_to_rounding_on_any_workers(problem):
    data, plan = problem(50), dict(n_chains=9, subset_size=20, n_permutations=6, seed=3)
    with joblib.parallel_config("threading"):  # processes take seconds to import the package
        alone, together = (ts_dshapley(*data, **plan, n_jobs=n) for n in (1, 2))
    np.testing.assert_allclose(alone.values, together.values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(alone.standard_error, together.standard_error, rtol=1e-9, atol=1e-12)


def blas_threads():
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


def test_chains_in_threads_keep_to_one_blas_thread(problem, monkeypatch):
    seen = []

    def looking(*arguments):
        seen.append(blas_threads())
        return prefix_utilities(*arguments)

    monkeypatch.setattr(module, "prefix_utilities", looking)
    with threadpool_limits(2), joblib.parallel_config("threading"):
        if blas_threads() != 2:
            pytest.skip("this BLAS has no thread limit that can be set")
        ts_dshapley(*problem(20), n_chains=6, subset_size=10, n_permutations=1, n_jobs=2)
        assert blas_threads() == 2  # as before
    assert seen == [1] * 6


def test_sampling_stops_at_the_target_and_says_so(problem):
    data = problem(40, noise=2.0)
    plan = dict(n_chains=400, subset_size=20, n_permutations=20, skip=0.1)
    early = ts_dshapley(*data, **plan, target=0.8)
    assert early.split_half >= 0.8 and early.counts.mean() < 400 * 20 / 2 * 0.9
    assert "0.8 is reached" in early.stopped
    spent = ts_dshapley(*data, **{**plan, "n_chains": 4}, target=0.999)
    assert "budget" in spent.stopped


def test_embed_gives_what_the_head_sees(tiny):
    tiny.classifier_head = "linear"
    model, smiles = MolformerForSequenceClassification(tiny), ["CCO", "c1ccccc1N", "CC(=O)O"]
    head, vectors = model.classifier.out_proj, embed(model, smiles)
    by_head = vectors @ head.weight.detach().double().numpy()[0] + head.bias.item()
    assert vectors.shape == (3, 16) and vectors.dtype == np.float64
    assert np.allclose(by_head, predict(model, smiles), atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"X": np.full((30, 8), np.nan)}, "training molecule 0 has a representation or label that is not finite"),
        ({"y_val": np.append(np.zeros(39), np.inf)}, "validation molecule 39"),
        ({"y": np.ones(30)}, "all 30 training labels are 1.0"),
        ({"y": np.ones(29)}, "do not fit the labels"),
        ({"X_val": np.zeros((40, 9))}, "8 and 9 features"),
    ],
)
def test_bad_tables_are_refused(problem, change, message):
    data = {**dict(zip(("X", "y", "X_val", "y_val"), problem(30), strict=True)), **change}
    with pytest.raises(DataError, match=message):
        permutation_values(**data, n_permutations=2)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(subset_size=31), "subset_size is 31"),
        (dict(subset_size=0), "subset_size is 0"),
        (dict(n_chains=2), "use at least 3"),
        (dict(n_permutations=0), "n_permutations is 0"),
        (dict(n_permutations=None), "10! permutations"),
        (dict(alpha=0), "alpha is 0"),
        (dict(alpha=np.nan), "alpha is nan"),
        (dict(truncation=-0.1), "truncation is -0.1"),
        (dict(skip=1.0), "skip is 1.0"),
        (dict(skip=0.95), "skip is 0.95; .* leaves nothing of a permutation of 10"),
    ],
)
def test_bad_parameters_are_refused(problem, change, message):
    with pytest.raises(DataError, match=message):
        ts_dshapley(*problem(30), **{"n_chains": 3, "subset_size": 10, "n_permutations": 2, **change})
    if not {"subset_size", "n_chains"} & set(change):
        with pytest.raises(DataError, match=message):
            permutation_values(*problem(10), **{"n_permutations": 2, **change})
