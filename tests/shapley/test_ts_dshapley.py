"""Sampled Shapley values: they aim at the exact ones, are equal to rounding on any workers, and find wrong labels."""

import sys

import joblib
import numpy as np
import pytest
from scipy.stats import sem
from threadpoolctl import threadpool_info, threadpool_limits

from molft_utils import DataError, load_lipophilicity, load_model, predict
from molft_utils.shapley import embed, permutation_values, prefix_utilities, ts_dshapley

module = sys.modules["molft_utils.shapley.ts_dshapley"]  # the package's attribute of this name is the function


def assert_equal_to_rounding(one, other):
    np.testing.assert_allclose(one.values, other.values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.standard_error, other.standard_error, rtol=1e-9, atol=1e-12)


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
    clipped = permutation_values(*problem(60), n_permutations=50, skip=0.05)
    assert "semivalue" in clipped.kind and "5%" in clipped.kind
    assert clipped.counts.sum() == 50 * 57


def test_the_seed_decides(problem):
    plan = dict(n_chains=9, subset_size=20, n_permutations=6)
    one, again, other = (ts_dshapley(*problem(50), **plan, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.values, again.values) and np.array_equal(one.standard_error, again.standard_error)
    assert not np.allclose(one.values, other.values)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_same_values_to_rounding_on_any_workers(problem, backend):
    data, plan = problem(50), dict(n_chains=9, subset_size=20, n_permutations=6, seed=3)
    with joblib.parallel_config(backend):
        assert_equal_to_rounding(ts_dshapley(*data, **plan), ts_dshapley(*data, **plan, n_jobs=2))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_same_values_to_rounding_on_a_dask_cluster(problem):
    distributed = pytest.importorskip("distributed")
    data = problem(50)
    plan = dict(n_chains=6, subset_size=20, n_permutations=4, seed=3)
    here = ts_dshapley(*data, **plan)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        there = ts_dshapley(*data, **plan, n_jobs=-1)
    assert_equal_to_rounding(here, there)


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
    assert "0.8 is reached" in early.stopped and "0.8 is reached" in str(early)
    spent = ts_dshapley(*data, **{**plan, "n_chains": 4}, target=0.999)
    assert "budget" in spent.stopped


def test_wrong_labels_are_found(problem):
    X, y, X_val, y_val = problem(300, d=32, q=150)
    noisy = np.random.default_rng(5).choice(300, 60, replace=False)
    y[noisy] = np.random.default_rng(6).permutation(y[noisy])
    values = ts_dshapley(X, y, X_val, y_val, alpha=10, n_chains=16, subset_size=300, n_permutations=50, skip=0.1)
    lowest = np.argsort(values.values)[:60]
    assert np.isin(lowest, noisy).sum() >= 30  # chance: 12
    assert values.split_half > 0.9


def test_embed_gives_what_the_head_sees():
    model, smiles = load_model("mini"), load_lipophilicity()["smiles"].head(20)
    head, vectors = model.classifier.out_proj, embed(model, smiles)
    by_head = vectors @ head.weight.detach().double().numpy()[0] + head.bias.item()
    assert vectors.shape == (20, 128) and vectors.dtype == np.float64
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
        (dict(alpha=0), "alpha is 0; .* larger than 0"),
        (dict(alpha=np.nan), "alpha is nan"),
        (dict(truncation=-0.1), "truncation is -0.1; .* 0 turns it off"),
        (dict(truncation=1), "truncation is 1"),
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
