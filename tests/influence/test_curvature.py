"""Hessian products: exact through LayerNorm, symmetric, linear."""

import pandas as pd
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from molft_utils import influence
from molft_utils.influence import gradient, hvp
from molft_utils.training import molecule_batches

TABLE = pd.DataFrame(
    {"smiles": ["CCO", "c1ccccc1N", "CC(=O)O", "CCCCCCCC", "C1CCNCC1C(=O)OCC"], "label": [0, 1, -1, 4, 1.5]}
)


def test_hessian_products_through_layernorm_match_finite_differences(tiny):
    loss, params = influence.molecule_loss(tiny), influence.trained_parameters(tiny)
    (batch,), _ = molecule_batches(tiny, TABLE, 8)
    torch.manual_seed(1)
    x, y = ({name: torch.randn_like(p) / 10 for name, p in params.items()} for _ in range(2))
    product = hvp(loss, params, batch, x)
    ahead, behind = (
        gradient(loss, {name: p + step * x[name] for name, p in params.items()}, [batch]) for step in (1e-5, -1e-5)
    )
    size = max(float(p.abs().max()) for p in product.values())
    for name in params:
        assert (product[name] - (ahead[name] - behind[name]) / 2e-5).abs().max() < 1e-8 * max(size, 1.0), name
    other = hvp(loss, params, batch, y)
    left, right = (sum((a[n] * b[n]).sum() for n in params) for a, b in ((product, y), (other, x)))
    assert abs(left - right) < 1e-10 * max(1.0, abs(left))


def test_a_linear_loss_has_no_curvature():
    params = {"w": torch.ones(3)}
    product = hvp(lambda p, x: x @ p["w"], params, torch.eye(3), params)
    assert (product["w"] == 0).all()


COEFFICIENTS = st.floats(-10, 10, allow_nan=False)


@settings(deadline=None, derandomize=True, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), a=COEFFICIENTS, b=COEFFICIENTS)
def test_hessian_products_are_symmetric_and_linear(tiny, seed, a, b):
    loss, params = influence.molecule_loss(tiny), influence.trained_parameters(tiny)
    (batch,), _ = molecule_batches(tiny, TABLE, 8)
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        {name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in params.items()} for _ in range(2)
    )
    hx, hy = (hvp(loss, params, batch, vector) for vector in (x, y))
    size = norm(hx) * norm(y) + norm(hy) * norm(x)
    assert abs(dot(hx, y) - dot(hy, x)) <= 1e-9 * size
    mixed = hvp(loss, params, batch, {name: a * x[name] + b * y[name] for name in params})
    difference = {name: mixed[name] - a * hx[name] - b * hy[name] for name in params}
    assert norm(difference) <= 1e-9 * (abs(a) * norm(hx) + abs(b) * norm(hy) + norm(mixed))


def dot(x, y):
    return float(sum((x[name] * y[name]).sum() for name in x))


def norm(x):
    return dot(x, x) ** 0.5
