"""Solvers: they solve, or say that they do not."""

import math

import pytest
import torch
from ridge_problem import Ridge, squared_error
from scipy.stats import spearmanr

from molft_utils import DataError, DivergenceError
from molft_utils.influence import conjugate_gradient, lissa, scores


def test_full_batch_lissa_equals_solve():
    ridge = Ridge(condition=100.0)
    found = ridge.lissa([ridge.train], depth=2000)
    assert ridge.error(found) < 1e-3 and found.residual < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_minibatch_lissa(ridge, seed):
    batches = ridge.batches(seed=seed)
    found = ridge.lissa(batches, seed=seed)
    assert found.n_products == 1000
    assert ridge.error(found) < 0.02
    assert found.residual < 0.1
    ours, exact = (
        scores(squared_error, ridge.params, [ridge.candidates], {"w": s}) for s in (found.direction["w"], ridge.exact)
    )
    assert spearmanr(ours, exact)[0] > 0.999
    wider = ridge.lissa(batches, seed=seed, scale=2 * found.scale)
    assert (wider.direction["w"] - found.direction["w"]).norm() < 0.02 * found.direction["w"].norm()


def test_the_scale_is_one_and_a_half_times_the_largest_eigenvalue(ridge, capsys):
    found = ridge.lissa([ridge.train], depth=50)
    assert found.scale == pytest.approx(1.5 * (ridge.largest + ridge.damping), rel=0.005)
    assert f"scale {found.scale:.3g}" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(5))
def test_the_scale_from_few_batches_and_steps_is_too_large_rather_than_too_small(ridge, seed):
    found = ridge.lissa(ridge.batches(seed=seed), depth=100, seed=seed)
    assert 1.0 < found.scale / (1.5 * (ridge.largest + ridge.damping)) < 1.3
    assert ridge.lissa([ridge.train], depth=1).scale == pytest.approx(1.5 * (ridge.largest + ridge.damping), rel=0.1)


@pytest.mark.parametrize("towards", [0.0, 1.0])
def test_a_large_damping_does_not_hide_the_largest_eigenvalue(towards):
    generator = torch.Generator().manual_seed(0)
    leading = torch.zeros(10_000, dtype=torch.float64)
    leading[0] = 1.0
    x = 7 * leading.repeat(8, 1)  # Hessian 98 along one of 10,000 axes, zero along the others
    v = torch.randn(10_000, generator=generator, dtype=torch.float64)
    v[0] = towards * v[0]  # the target's gradient may be orthogonal to that axis
    found = lissa(squared_error, {"w": leading}, [(x, torch.zeros(8))], {"w": v}, damping=5.0, depth=100)
    assert found.scale == pytest.approx(1.5 * (98 + 5), rel=0.02)


def test_too_small_a_scale_raises_within_fifty_products(ridge):
    for batches in (ridge.batches(), [ridge.train]):
        with pytest.raises(DivergenceError, match=r"diverged after ([1-9]|[1-4]\d|50) products.*leave scale=None"):
            ridge.lissa(batches, scale=ridge.largest / 3)


def test_negative_curvature_raises_with_the_remedy():
    params = {"w": torch.tensor([0.1, 0.2], dtype=torch.float64)}
    batch = torch.ones(4, 1, dtype=torch.float64)

    def saddle(p, x):
        return x[:, 0] * (p["w"][0] ** 2 - p["w"][1] ** 2)

    v = {"w": torch.ones(2, dtype=torch.float64)}
    with pytest.raises(DivergenceError, match="raise the damping"):
        conjugate_gradient(saddle, params, [batch], v, damping=0.5, curvature="hessian")
    with pytest.raises(DivergenceError, match="raise the damping"):
        lissa(saddle, params, [batch], v, damping=0.5, curvature="hessian")
    assert conjugate_gradient(saddle, params, [batch], v, damping=3.0, curvature="hessian").residual < 1e-3


def test_conjugate_gradient_is_the_reference(ridge):
    found = conjugate_gradient(
        squared_error, ridge.params, ridge.batches(), ridge.v, damping=ridge.damping, tolerance=1e-8
    )
    assert ridge.error(found) < 1e-6
    assert math.isnan(found.scale) and found.history["residual"].iloc[-1] == found.residual
    assert found.n_overhead == len(ridge.batches())  # the last residual


def exact_residual(ridge, found):
    r = ridge.curvature @ found.direction["w"] - ridge.v["w"]
    return float(r.norm() / ridge.v["w"].norm())


def test_tolerance_stops_early_and_the_history_tells(ridge):
    found = ridge.lissa([ridge.train], depth=4000, tolerance=0.05)
    assert found.residual <= 0.05 and found.n_products < 1000
    assert found.history["n_products"].is_monotonic_increasing
    assert found.residual == pytest.approx(exact_residual(ridge, found))


def test_tolerance_stops_a_run_of_less_than_four_epochs(ridge):
    found = ridge.lissa(ridge.batches(), depth=100, tolerance=0.25)
    assert found.n_products < 100
    assert found.residual <= 0.25 and exact_residual(ridge, found) < 0.25


@pytest.mark.parametrize("depth, size", [(20, 29), (40, 29), (100, 29), (100, 64), (400, 29), (1000, 64)])
def test_scale_and_looks_take_at_most_half_of_the_depth(ridge, depth, size):
    batches = ridge.batches(size)
    products = []

    def counted(params, batch):
        products.append(batch[0].requires_grad or params["w"].requires_grad)
        return squared_error(params, batch)

    found = lissa(counted, ridge.params, batches, ridge.v, damping=ridge.damping, depth=depth, curvature="hessian")
    assert found.n_products == depth
    assert found.n_overhead == sum(products) - depth  # each product is one pass that is differentiated
    assert 0 < found.n_overhead <= depth / 2
    assert len(found.history) >= (3 if depth >= 40 else 1)


def test_the_residual_is_that_of_all_batches_where_the_depth_pays_for_them(ridge):
    for depth, tail in ((1000, 9), (240, 1)):
        found = ridge.lissa(ridge.batches(), depth=depth)
        assert found.residual == pytest.approx(exact_residual(ridge, found), rel=1e-6)
        ends = [1, 2, 4, 8, 16, 31, 62, 125, 250, 500, 1000] if depth == 1000 else [30, 60, 120, 240]
        assert found.history["n_products"].tolist()[-tail:] == ends[-tail:]


@pytest.mark.parametrize("depth, size", [(20, 29), (40, 29), (100, 29), (60, 64), (100, 64)])
def test_the_residual_of_few_batches_is_a_close_estimate(ridge, depth, size):
    ratios = []
    for seed in range(10):
        found = ridge.lissa(ridge.batches(size, seed=seed), depth=depth, seed=seed)
        ratios.append(found.residual / exact_residual(ridge, found))
    assert min(ratios) > 0.8 and max(ratios) < 1.6
    assert 0.95 < sum(ratios) / len(ratios) < 1.35


def test_same_seed_same_bits(ridge):
    runs = [ridge.lissa(ridge.batches(), depth=50, seed=seed) for seed in (3, 3, 4)]
    first, second, other = (found.direction["w"] for found in runs)
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert runs[0].scale == runs[1].scale and runs[0].history.equals(runs[1].history)


def test_a_smaller_last_batch_counts_for_less(ridge):
    x, y = ridge.train
    batches = [(x[:1000], y[:1000]), (x[1000:2990], y[1000:2990]), (x[2990:], y[2990:])]
    assert (
        ridge.error(
            conjugate_gradient(squared_error, ridge.params, batches, ridge.v, damping=ridge.damping, tolerance=1e-8)
        )
        < 1e-6
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(damping=-1.0), "damping is -1.0"),
        (dict(damping=math.nan), "damping is nan"),
        (dict(depth=0), "depth is 0"),
        (dict(average=1.0), "average is 1.0"),
    ],
)
def test_senseless_settings_are_refused(ridge, change, message):
    with pytest.raises(DataError, match=message):
        lissa(squared_error, ridge.params, [ridge.train], ridge.v, **{"damping": 1.0, **change})


def test_no_batches_and_no_direction_are_refused(ridge):
    with pytest.raises(DataError, match="no batches"):
        ridge.lissa([])
    with pytest.raises(DataError, match="gradient is zero"):
        lissa(squared_error, ridge.params, [ridge.train], {"w": torch.zeros(65)}, damping=1.0)
