"""Products with the curvature are exact; the solvers solve, or say that they do not."""

import math

import numpy as np
import pytest
import torch
from ridge_problem import TABLE, Ridge, squared_error
from torch.func import functional_call, jacrev

from molft_utils import DataError, DivergenceError, influence
from molft_utils.influence import (
    conjugate_gradient,
    gauss_newton_product,
    gradient,
    hvp,
    largest_eigenvalue,
    lissa,
    scores,
)
from molft_utils.influence.lissa import root
from molft_utils.training import molecule_batches


def flat(params):
    return torch.cat([p.flatten() for p in params.values()])


@pytest.fixture
def problem(tiny):
    """Loss, parameters and one batch of a tiny model with LayerNorm, in float64."""
    (batch,), _ = molecule_batches(tiny, TABLE, 8)
    return influence.molecule_loss(tiny), influence.trained_parameters(tiny), batch


def random_like(params, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in params.items()}


# Products


def test_hessian_products_through_layernorm_match_finite_differences(problem):
    loss, params, batch = problem
    x = {name: value / 10 for name, value in random_like(params, 1).items()}
    product = hvp(loss, params, batch, x)
    ahead, behind = (
        gradient(loss, {name: p + step * x[name] for name, p in params.items()}, [batch]) for step in (1e-5, -1e-5)
    )
    size = max(float(p.abs().max()) for p in product.values())
    for name in params:
        assert (product[name] - (ahead[name] - behind[name]) / 2e-5).abs().max() < 1e-8 * max(size, 1.0), name
        assert not product[name].requires_grad


def test_gauss_newton_product_equals_the_explicit_matrix(tiny, problem):
    loss, params, batch = problem

    def outputs(p, b):
        inputs = {name: b[name] for name in ("input_ids", "attention_mask")}
        return functional_call(tiny, p, kwargs=inputs).logits.squeeze(-1) / tiny.config.label_std

    J = torch.cat([j.flatten(1) for j in jacrev(lambda p: outputs(p, batch))(params).values()], dim=1)
    vector = random_like(params, 3)
    expected = 2 / len(TABLE) * J.T @ (J @ flat(vector))
    # The solvers know the loss alone: the root of a squared error has the same matrix.
    for function in (outputs, root(loss)):
        found = gauss_newton_product(function, params, batch, vector)
        assert (flat(found) - expected).abs().max() < 1e-10 * expected.abs().max()


def test_a_linear_loss_has_no_curvature_and_a_residual_of_zero_no_nan():
    params = {"w": torch.ones(3), "unused": torch.ones(2)}
    assert not flat(hvp(lambda p, x: x @ p["w"], params, torch.eye(3), params)).any()
    params, x, y = {"w": torch.tensor([1.0, 2.0])}, torch.eye(2), torch.tensor([1.0, 0.0])  # the first is met exactly
    product = gauss_newton_product(root(squared_error), params, (x, y), {"w": torch.ones(2)})
    assert torch.equal(product["w"], torch.tensor([0.0, 1.0]))


def test_lanczos_finds_the_eigenvalue_of_largest_size_or_too_large_a_one():
    generator = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(40, 40, generator=generator, dtype=torch.float64))[0]
    values = torch.linspace(-5, 3, 40, dtype=torch.float64)
    start, matrix = torch.randn(40, generator=generator, dtype=torch.float64), q * values @ q.T
    found = [largest_eigenvalue(lambda x: matrix @ x, start, n) for n in (2, 5, 10, 60)]
    assert found[-1] == pytest.approx(5.0, rel=1e-9)
    assert all(value > 5.0 - 1e-9 for value in found)


# LiSSA


def test_full_batch_lissa_equals_solve():
    ridge = Ridge(n=600, condition=20.0)
    found = ridge.lissa([ridge.train], depth=500)
    assert ridge.error(found) < 1e-3 and found.residual < 1e-3


def test_minibatch_lissa(ridge):
    found = ridge.lissa(ridge.batches())
    assert found.n_products == 1000
    assert ridge.error(found) < 0.02
    assert found.residual < 0.1


def test_the_loop_is_the_recursion_over_shuffled_epochs_with_the_last_half_averaged(ridge):
    batches, scale, depth = ridge.batches(700), 1.5 * (ridge.largest + ridge.damping), 8
    generator, order = torch.Generator().manual_seed(5), []
    for _ in range(2):
        order += torch.randperm(len(batches), generator=generator).tolist()
    n_mean = sum(len(x) for x, _ in batches) / len(batches)
    h, iterates = ridge.v["w"], []
    for i in order[:depth]:
        x = batches[i][0]
        h = ridge.v["w"] + h - (2 * x.T @ (x @ h) / n_mean + ridge.damping * h) / scale
        iterates.append(h / scale)
    found = ridge.lissa(batches, depth=depth, scale=scale, seed=5)
    assert torch.allclose(found.direction["w"], torch.stack(iterates[depth // 2 :]).mean(0), rtol=1e-10, atol=1e-12)


def test_the_scale_is_one_and_a_half_times_the_largest_eigenvalue_rather_more_than_less(ridge):
    wanted = 1.5 * (ridge.largest + ridge.damping)
    assert ridge.lissa([ridge.train], depth=50).scale == pytest.approx(wanted, rel=0.005)
    assert ridge.lissa([ridge.train], depth=1).scale == pytest.approx(wanted, rel=0.1)
    for seed in range(3):  # from few batches and steps
        assert 1.0 < ridge.lissa(ridge.batches(seed=seed), depth=100, seed=seed).scale / wanted < 1.3


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


@pytest.mark.parametrize("depth, size", [(1, 64), (2, 64), (20, 64), (100, 290)])
def test_the_residual_is_exact_and_below_one_in_a_short_run_and_the_overhead_is_a_fifth_and_one_pass(
    ridge, depth, size
):
    batches = ridge.batches(size)
    found = ridge.lissa(batches, depth=depth)
    r = ridge.curvature @ found.direction["w"] - ridge.v["w"]
    assert found.residual == pytest.approx(float(r.norm() / ridge.v["w"].norm()), rel=1e-6)
    assert found.residual < 0.9 and found.n_products == depth
    assert found.n_overhead <= max(4, depth // 5) + len(batches)


def test_the_history_ends_with_the_residual_and_tells_the_drift_at_each_doubling(ridge):
    found = ridge.lissa([ridge.train], depth=250)
    assert found.history["n_products"].tolist() == [2, 4, 8, 16, 31, 62, 125, 250]
    assert found.history["residual"].iloc[-1] == found.residual
    # With one batch nothing is left to chance: the drift is the residual, one step earlier.
    assert found.history["drift"].iloc[-1] == pytest.approx(found.residual, rel=0.05)
    assert found.history["drift"].is_monotonic_decreasing


def test_tolerance_stops_early(ridge):
    found = ridge.lissa([ridge.train], depth=1000, tolerance=0.1)
    assert found.residual <= 0.1 and found.n_products < 1000
    assert ridge.lissa(ridge.batches(), depth=100, tolerance=0.25).n_products < 100


def test_same_seed_same_bits(ridge):
    runs = [ridge.lissa(ridge.batches(), depth=50, seed=seed) for seed in (3, 3, 4)]
    first, second, other = (found.direction["w"] for found in runs)
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert runs[0].scale == runs[1].scale and runs[0].history.equals(runs[1].history)


# Conjugate gradients


def test_conjugate_gradient_is_the_reference(ridge):
    plan = dict(damping=ridge.damping, tolerance=1e-8)
    x, y = ridge.train  # the smaller last batch counts for less
    batches = [(x[:1000], y[:1000]), (x[1000:2990], y[1000:2990]), (x[2990:], y[2990:])]
    found = conjugate_gradient(squared_error, ridge.params, batches, ridge.v, **plan)
    assert ridge.error(found) < 1e-6
    assert math.isnan(found.scale) and found.history["residual"].iloc[-1] == found.residual
    assert found.n_overhead == len(batches)  # the last residual


# What is refused


def test_too_small_a_scale_raises_within_fifty_products(ridge):
    for batches in (ridge.batches(), [ridge.train]):
        with pytest.raises(DivergenceError, match=r"diverged after ([1-9]|[1-4]\d|50) products.*leave scale=None"):
            ridge.lissa(batches, scale=ridge.largest / 3)


def test_negative_curvature_and_a_residual_of_one_or_more_are_no_solution(ridge):
    def saddle(p, x):
        return x * (p["w"][0] ** 2 - p["w"][1] ** 2 / 20)

    v = {"w": torch.tensor([0.1, 1.0], dtype=torch.float64)}
    problem = saddle, {"w": torch.zeros(2, dtype=torch.float64)}, [torch.ones(4)], v
    for solve, depth in ((conjugate_gradient, 40), (lissa, 1000)):
        with pytest.raises(DivergenceError, match="raise the damping"):
            solve(*problem, damping=1e-3, depth=depth, curvature="hessian")
    with pytest.raises(DivergenceError, match=r"residual .* 1; raise the damping"):  # grows, but not beyond bounds yet
        lissa(*problem, damping=1e-3, depth=40, curvature="hessian")
    found, eigenvalues = conjugate_gradient(*problem, damping=1.0, curvature="hessian"), torch.tensor([2, -0.1])
    assert found.residual < 1e-3 and torch.allclose(found.direction["w"], v["w"] / (eigenvalues + 1.0), rtol=1e-3)
    with pytest.raises(DivergenceError, match="no solution"):
        ridge.lissa([ridge.train], depth=4, scale=math.inf)


def two_names():
    """A regression on two parameters of one size, so that their order matters and no shape betrays it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 2, 3, generator=generator, dtype=torch.float64) * torch.tensor([[1.0], [0.1]])
    params = {name: torch.randn(3, generator=generator, dtype=torch.float64) for name in "wb"}

    def loss(p, batch):
        return (x[batch, 0] @ p["w"] + x[batch, 1] @ p["b"] - 1) ** 2

    return loss, params, [torch.arange(0, 25), torch.arange(25, 50)]


@pytest.mark.parametrize("solve", [lissa, conjugate_gradient])
def test_a_vector_counts_by_its_names_not_by_their_order(solve):
    loss, params, batches = two_names()
    v = gradient(loss, params, batches)
    turned = dict(sorted(v.items()))
    first, second = (solve(loss, params, batches, given, damping=0.1, depth=30) for given in (v, turned))
    assert list(second.direction) == ["w", "b"]
    assert torch.equal(flat(first.direction), flat(second.direction))
    assert torch.equal(scores(loss, params, batches, v), scores(loss, params, batches, turned))
    for product in (hvp, gauss_newton_product):
        assert torch.equal(*(flat(product(loss, params, batches[0], given)) for given in (v, turned)))


@pytest.mark.parametrize(
    "change, named", [({"extra": torch.ones(3)}, "extra"), ({"b": torch.ones(4)}, "'b'"), (None, "'b'")]
)
def test_a_vector_with_other_names_or_shapes_is_refused(change, named):
    loss, params, batches = two_names()
    v = {"w": torch.ones(3)} if change is None else {**params, **change}
    for use in (
        lambda: lissa(loss, params, batches, v, damping=0.1),
        lambda: conjugate_gradient(loss, params, batches, v, damping=0.1),
        lambda: hvp(loss, params, batches[0], v),
        lambda: gauss_newton_product(loss, params, batches[0], v),
        lambda: scores(loss, params, batches, v),
    ):
        with pytest.raises(DataError, match=named):
            use()


def test_a_loss_that_is_not_finite_is_named_by_batch_and_position(ridge):
    batches = [(x, y.clone()) for x, y in ridge.batches(500)]
    batches[3][1][17] = math.nan
    for use in (
        lambda: ridge.lissa(batches),
        lambda: conjugate_gradient(squared_error, ridge.params, batches, ridge.v, damping=1.0),
        lambda: gradient(squared_error, ridge.params, batches),
        lambda: scores(squared_error, ridge.params, batches, ridge.v),
    ):
        with pytest.raises(DataError, match="batch 3: the loss of molecule 17"):
            use()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(damping=math.nan), "damping is nan"),
        (dict(depth=0), "depth is 0"),
        (dict(average=1.0), "average is 1.0"),
        (dict(curvature="newton"), "curvature is 'newton'"),
    ],
)
def test_senseless_options_are_refused(ridge, change, message):
    with pytest.raises(DataError, match=message):
        lissa(squared_error, ridge.params, [ridge.train], ridge.v, **{"damping": 1.0, **change})


def test_no_batches_no_direction_and_a_table_of_losses_are_refused(ridge):
    with pytest.raises(DataError, match="no batches"):
        ridge.lissa([])
    x, y = ridge.train
    with pytest.raises(DataError, match="one value per molecule"):  # [n, 1] - [n] is [n, n]
        ridge.lissa([(x[:20, None], y[:20])])
    for v in (torch.zeros(65), torch.full((65,), np.nan)):
        with pytest.raises(DataError, match="gradient is zero"):
            lissa(squared_error, ridge.params, [ridge.train], {"w": v}, damping=1.0)
