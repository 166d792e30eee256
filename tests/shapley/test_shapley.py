"""Shapley values: equal to enumeration where that can be done, the same on any number of workers, useful with noise."""

import itertools
import math

import joblib
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from molft_utils import DataError, load_lipophilicity, load_model
from molft_utils.shapley import (
    embed,
    exact_values,
    permutation_values,
    prefix_utilities,
    removal_curve,
    ts_dshapley,
)


def problem(n, d=8, q=40, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=d)
    X, X_val = rng.normal(size=(n, d)), rng.normal(size=(q, d))
    return X, X @ w + noise * rng.normal(size=n), X_val, X_val @ w + noise * rng.normal(size=q)


def ridge_utility(X, y, X_val, y_val, alpha=1.0):
    """The utility by scikit-learn, as a function of a tuple of players."""

    def utility(players):
        if not players:
            return -np.mean((y_val - y.mean()) ** 2)
        model = Ridge(alpha=alpha).fit(X[list(players)], y[list(players)])
        return -np.mean((model.predict(X_val) - y_val) ** 2)

    return utility


# Exact where it can be


@pytest.mark.parametrize("n, d", [(30, 8), (40, 64), (2, 3)])
def test_prefix_utilities_equal_refitted_ridge(n, d):
    X, y, X_val, y_val = problem(n, d)
    order = np.random.default_rng(1).permutation(n)
    fast = prefix_utilities(X @ X.T, X @ X_val.T, y, y_val, order, alpha=0.7)
    utility = ridge_utility(X, y, X_val, y_val, alpha=0.7)
    slow = [utility(tuple(order[: k + 1])) for k in range(n)]
    assert np.abs(fast - slow).max() < 1e-10 * max(1, np.abs(slow).max())


@pytest.mark.parametrize("n", [2, 5, 8])  # nine: tests/benchmarks/test_shapley_speed.py
def test_all_permutations_equal_enumeration(n):
    data = problem(n, d=3, q=10)
    values = permutation_values(*data, n_permutations=None)
    exact = exact_values(ridge_utility(*data), n)
    assert np.abs(values.values - exact).max() < 1e-12 * max(1, np.abs(exact).max())
    assert (values.counts == math.factorial(n)).all() and values.kind == "Shapley value"


def test_efficiency():
    data = problem(60)
    values = permutation_values(*data, n_permutations=10)
    utility = ridge_utility(*data)
    assert abs(values.values.sum() - (utility(tuple(range(60))) - utility(()))) < 1e-10


def test_symmetry_and_null_player():
    X, y, X_val, y_val = problem(6, d=3, q=10)
    X[1], y[1] = X[0], y[0]
    values = permutation_values(X, y, X_val, y_val, n_permutations=None).values
    assert abs(values[0] - values[1]) < 1e-12
    game = exact_values(lambda s: float(len(set(s) - {2}) ** 2), 5)  # player 2 never adds anything
    assert abs(game[2]) < 1e-12 and np.ptp(np.delete(game, 2)) < 1e-12
    assert game.sum() == pytest.approx(16)


def test_agrees_with_pydvl_on_the_same_utility():
    pytest.importorskip(
        "pydvl.valuation",
        reason="pyDVL is absent: pip install cvxpy pyDeprecate more-itertools, pip install --no-deps pydvl",
        exc_type=ImportError,
    )
    from pydvl.valuation import (
        Dataset,
        MinUpdates,
        ModelUtility,
        PermutationSampler,
        ShapleyValuation,
        SupervisedScorer,
    )

    X, y, X_val, y_val = problem(12, d=3, q=20)
    train, test = (Dataset(a, b, np.arange(a.shape[1]), None) for a, b in ((X, y), (X_val, y_val)))

    def negative_mse(model, x, labels):
        return -float(np.mean((model.predict(x) - labels) ** 2))

    default = -float(np.mean((y_val - y.mean()) ** 2))
    scorer = SupervisedScorer(negative_mse, test, default=default, range=(-np.inf, 0))
    valuation = ShapleyValuation(
        ModelUtility(Ridge(alpha=1.0), scorer), PermutationSampler(seed=0), is_done=MinUpdates(200), progress=False
    )
    theirs = valuation.fit(train).result
    theirs = theirs.values[np.argsort(theirs.indices)]
    # The same seed draws the same 200 orders on both sides, so that nothing is left to chance.
    ours = permutation_values(X, y, X_val, y_val, n_permutations=200)
    np.testing.assert_allclose(ours.values, theirs, atol=1e-9)


# Stable where it samples


def test_the_standard_error_is_that_of_repeated_runs():
    data = problem(15)
    runs = [permutation_values(*data, n_permutations=100, sampling="plain", seed=s) for s in range(40)]
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    claimed = np.mean([run.standard_error for run in runs], axis=0)
    assert np.median(claimed / spread) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("sampling", ["plain", "antithetic"])
def test_both_samplings_aim_at_the_exact_values(sampling):
    data = problem(7, d=3, q=10)
    exact = permutation_values(*data, n_permutations=None).values
    found = permutation_values(*data, n_permutations=6000, sampling=sampling)
    assert (np.abs(found.values - exact) < 5 * found.standard_error).all()


def test_truncation_keeps_the_efficiency_within_the_tolerance():
    data = problem(60)
    utility = ridge_utility(*data)
    whole = utility(tuple(range(60))) - utility(())
    cut = permutation_values(*data, n_permutations=20, truncation=0.05).values
    assert not np.allclose(cut, permutation_values(*data, n_permutations=20).values)
    assert abs(cut.sum() - whole) <= 0.05 * abs(whole)


def test_chains_of_subsets_are_named_semivalues():
    plan = dict(n_chains=4, n_permutations=4)
    assert ts_dshapley(*problem(30), subset_size=15, **plan).kind == "semivalue, in subsets of 15"
    assert ts_dshapley(*problem(30), subset_size=30, **plan).kind == "Shapley value"


def test_a_clipped_start_is_named_a_semivalue():
    values = permutation_values(*problem(60), n_permutations=50, skip=0.05)
    assert "semivalue" in values.kind and "5%" in values.kind
    assert values.counts.sum() == 50 * 57


def test_same_values_for_the_same_seed_on_any_number_of_workers():
    data = problem(50)
    plan = dict(n_chains=9, subset_size=20, n_permutations=6, seed=3)
    one, two, other = (ts_dshapley(*data, **{**plan, **change}) for change in ({}, {"n_jobs": 2}, {"seed": 4}))
    assert np.array_equal(one.values, two.values) and np.array_equal(one.standard_error, two.standard_error)
    assert not np.array_equal(one.values, other.values)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_same_values_on_a_dask_cluster():
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
    assert np.array_equal(here.values, there.values)


def test_every_molecule_is_dealt_as_often_as_any_other():
    values = ts_dshapley(*problem(60), n_chains=9, subset_size=20, n_permutations=4)
    assert (values.counts == 12).all()


def test_sampling_stops_at_the_target_and_says_so():
    data = problem(40, noise=2.0)
    plan = dict(n_chains=400, subset_size=20, n_permutations=20, skip=0.1)
    early = ts_dshapley(*data, **plan, target=0.8)
    assert early.split_half >= 0.8 and early.counts.mean() < 400 * 20 / 2 * 0.9
    assert "0.8 is reached" in early.stopped and "0.8 is reached" in str(early)
    spent = ts_dshapley(*data, **{**plan, "n_chains": 4}, target=0.999)
    assert "budget" in spent.stopped


def test_noisy_labels_are_found():
    X, y, X_val, y_val = problem(300, d=32, q=150)
    noisy = np.random.default_rng(5).choice(300, 60, replace=False)
    y[noisy] = np.random.default_rng(6).permutation(y[noisy])
    values = ts_dshapley(X, y, X_val, y_val, alpha=10, n_chains=16, subset_size=300, n_permutations=50, skip=0.1)
    lowest = np.argsort(values.values)[:60]
    assert np.isin(lowest, noisy).sum() >= 30  # chance: 12
    assert values.split_half > 0.9


def test_removal_curve_drops_the_harmful_first():
    X, y, X_val, y_val = problem(240, d=32, q=200, seed=2)
    noisy = np.random.default_rng(5).choice(240, 60, replace=False)
    y[noisy] += 6 * np.random.default_rng(6).choice([-1, 1], 60)
    values = permutation_values(X, y, X_val[:100], y_val[:100], n_permutations=200, skip=0.05).values
    curve = removal_curve(X, y, values, X_val[100:], y_val[100:])
    start = curve.iloc[0]
    assert start["lowest"] == pytest.approx(start["highest"]) == pytest.approx(start["random"])
    best = curve.set_index("n_removed").loc[curve.attrs["optimum"]]
    assert 30 <= curve.attrs["optimum"] <= 120
    assert best["lowest"] < 0.7 * start["lowest"] and best["lowest"] < best["random"] < best["highest"]


def test_embed_gives_what_the_head_sees():
    model = load_model("mini")
    model.config.canonical_smiles = True
    smiles = load_lipophilicity()["smiles"].head(20)
    vectors = embed(model, smiles)
    assert vectors.shape == (20, 128) and vectors.dtype == np.float64
    assert np.allclose(embed(model, smiles, batch_size=1), vectors, atol=1e-5)
    weight, bias = (
        p.detach().double().numpy() for p in (model.classifier.out_proj.weight, model.classifier.out_proj.bias)
    )
    from molft_utils import predict

    assert np.allclose(vectors @ weight[0] + bias, predict(model, smiles), atol=1e-5)


# Bad input

GOOD = problem(30)


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
def test_bad_tables_are_refused(change, message):
    data = {**dict(zip(("X", "y", "X_val", "y_val"), GOOD, strict=True)), **change}
    with pytest.raises(DataError, match=message):
        permutation_values(**data, n_permutations=2)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(subset_size=31), "subset_size is 31"),
        (dict(n_chains=2), "use at least 3"),
        (dict(n_permutations=0), "n_permutations is 0"),
        (dict(sampling="sideways"), "choose 'antithetic' or 'plain'"),
    ],
)
def test_bad_plans_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        ts_dshapley(*GOOD, **{"n_chains": 3, "subset_size": 10, "n_permutations": 2, **change})


def test_enumeration_of_many_and_removal_without_values_are_refused():
    with pytest.raises(DataError, match="30! orders"):
        permutation_values(*GOOD, n_permutations=None)
    X, y, X_val, y_val = GOOD
    with pytest.raises(DataError, match="one finite value a molecule"):
        removal_curve(X, y, np.full(30, np.nan), X_val, y_val)


def test_enumeration_is_shapleys_formula():
    worth = {s: float(sum(i + 1 for i in s) ** 1.5) for k in range(4) for s in itertools.combinations(range(3), k)}
    orders = list(itertools.permutations(range(3)))
    by_orders = np.zeros(3)
    for order in orders:
        for k, player in enumerate(order):
            before, after = (tuple(sorted(order[:j])) for j in (k, k + 1))
            by_orders[player] += (worth[after] - worth[before]) / len(orders)
    assert np.allclose(exact_values(worth.__getitem__, 3), by_orders, atol=1e-12)
