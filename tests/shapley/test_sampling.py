"""Sampled Shapley values: they aim at the exact ones, are equal to rounding on any workers, and find noisy labels."""

from threading import Event, local

import joblib
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_info, threadpool_limits

from molft_utils import DataError, load_lipophilicity, load_model, predict
from molft_utils.shapley import embed, marginals, permutation_values, sampling, ts_dshapley


def assert_equal_to_rounding(one, other):
    np.testing.assert_allclose(one.values, other.values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.standard_error, other.standard_error, rtol=1e-9, atol=1e-12)


def test_efficiency(problem, ridge_utility):
    data = problem(60)
    values = permutation_values(*data, n_permutations=10)
    utility = ridge_utility(*data)
    assert abs(values.values.sum() - (utility(tuple(range(60))) - utility(()))) < 1e-10


def test_agrees_with_pydvl_on_the_same_utility(problem):
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


def test_the_standard_error_is_that_of_repeated_runs(problem):
    data = problem(15)
    runs = [permutation_values(*data, n_permutations=100, sampling="plain", seed=s) for s in range(40)]
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    claimed = np.mean([run.standard_error for run in runs], axis=0)
    assert np.median(claimed / spread) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("sampling", ["plain", "antithetic"])
def test_both_samplings_aim_at_the_exact_values(problem, sampling):
    data = problem(7, d=3, q=10)
    exact = permutation_values(*data, n_permutations=None).values
    found = permutation_values(*data, n_permutations=6000, sampling=sampling)
    assert (np.abs(found.values - exact) < 5 * found.standard_error).all()


def test_chains_of_subsets_are_named_semivalues(problem):
    plan = dict(n_chains=4, n_permutations=4)
    assert ts_dshapley(*problem(30), subset_size=15, **plan).kind == "semivalue, in subsets of 15"
    assert ts_dshapley(*problem(30), subset_size=30, **plan).kind == "Shapley value"


def test_a_clipped_start_is_named_a_semivalue(problem):
    values = permutation_values(*problem(60), n_permutations=50, skip=0.05)
    assert "semivalue" in values.kind and "5%" in values.kind
    assert values.counts.sum() == 50 * 57


def test_same_values_for_the_same_seed(problem):
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


def test_chains_in_threads_keep_to_one_blas_thread_after_a_neighbour_ends(problem, monkeypatch):
    """Events force the order: chain 0 begins, chain 1 begins, chain 0 ends, chain 1 looks."""
    began, ended, this, seen = (Event(), Event()), Event(), local(), {}
    draw, walk, add = sampling.draw_orders, marginals.prefix_utilities, marginals.Tally.add

    def drawing(n, n_permutations, way, rng):
        this.chain = rng.bit_generator.seed_seq.entropy[1]
        if this.chain == 1:
            assert began[0].wait(60)
        return draw(n, n_permutations, way, rng)

    def walking(*arguments):
        began[this.chain].set()
        assert (began[1] if this.chain == 0 else ended).wait(60)
        seen[this.chain] = blas_threads()
        return walk(*arguments)

    def adding(tally, *arguments):
        ended.set()  # results come in the order of the chains: this is chain 0's
        return add(tally, *arguments)

    monkeypatch.setattr(sampling, "draw_orders", drawing)
    monkeypatch.setattr(marginals, "prefix_utilities", walking)
    monkeypatch.setattr(marginals.Tally, "add", adding)
    with threadpool_limits(2), joblib.parallel_config("threading"):
        if blas_threads() != 2:
            pytest.skip("this BLAS has no thread limit that can be set")
        ts_dshapley(*problem(20), n_chains=2, subset_size=10, n_permutations=1, n_jobs=2)
        assert blas_threads() == 2  # as before
    assert seen == {0: 1, 1: 1}


def test_every_molecule_is_dealt_as_often_as_any_other(problem):
    values = ts_dshapley(*problem(60), n_chains=9, subset_size=20, n_permutations=4)
    assert (values.counts == 12).all()


def test_sampling_stops_at_the_target_and_says_so(problem):
    data = problem(40, noise=2.0)
    plan = dict(n_chains=400, subset_size=20, n_permutations=20, skip=0.1)
    early = ts_dshapley(*data, **plan, target=0.8)
    assert early.split_half >= 0.8 and early.counts.mean() < 400 * 20 / 2 * 0.9
    assert "0.8 is reached" in early.stopped and "0.8 is reached" in str(early)
    spent = ts_dshapley(*data, **{**plan, "n_chains": 4}, target=0.999)
    assert "budget" in spent.stopped


def test_noisy_labels_are_found(problem):
    X, y, X_val, y_val = problem(300, d=32, q=150)
    noisy = np.random.default_rng(5).choice(300, 60, replace=False)
    y[noisy] = np.random.default_rng(6).permutation(y[noisy])
    values = ts_dshapley(X, y, X_val, y_val, alpha=10, n_chains=16, subset_size=300, n_permutations=50, skip=0.1)
    lowest = np.argsort(values.values)[:60]
    assert np.isin(lowest, noisy).sum() >= 30  # chance: 12
    assert values.split_half > 0.9


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
    assert np.allclose(vectors @ weight[0] + bias, predict(model, smiles), atol=1e-5)


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


BAD_RULES = [
    (dict(alpha=0), "alpha is 0; .* larger than 0"),
    (dict(alpha=-1.5), "alpha is -1.5"),
    (dict(alpha=np.nan), "alpha is nan"),
    (dict(truncation=-0.1), "truncation is -0.1; .* 0 turns it off"),
    (dict(truncation=1), "truncation is 1"),
    (dict(skip=-0.1), "skip is -0.1"),
    (dict(skip=1.0), "skip is 1.0"),
    (dict(skip=0.95), "skip is 0.95; .* leaves nothing of an order of 10"),
]


@pytest.mark.parametrize("change, message", BAD_RULES)
@pytest.mark.parametrize("n_permutations", [None, 2])
def test_bad_rules_of_permutation_values_are_refused(problem, n_permutations, change, message):
    with pytest.raises(DataError, match=message.replace("of 10", "of 6")):
        permutation_values(*problem(6), **{"n_permutations": n_permutations, **change})


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(subset_size=31), "subset_size is 31"),
        (dict(n_chains=2), "use at least 3"),
        (dict(n_permutations=0), "n_permutations is 0"),
        (dict(sampling="sideways"), "choose 'antithetic' or 'plain'"),
        *BAD_RULES,
    ],
)
def test_bad_plans_are_refused(problem, change, message):
    with pytest.raises(DataError, match=message):
        ts_dshapley(*problem(30), **{"n_chains": 3, "subset_size": 10, "n_permutations": 2, **change})


def test_enumeration_of_many_is_refused(problem):
    with pytest.raises(DataError, match="30! orders"):
        permutation_values(*problem(30), n_permutations=None)
