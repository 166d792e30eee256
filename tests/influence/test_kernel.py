"""The exact kernel: kernel ridge regression on a linear model, real leave-one-out there, the solvers elsewhere."""

import numpy as np
import pytest
import torch
from ridge_problem import TABLE

from molft_utils import DataError, influence, settings
from molft_utils.influence import Kernel, influence_kernel, influence_scores
from molft_utils.training import molecule_batches

DAMPING = 0.3


class Linear:
    """Ridge regression y ~ X w: mean squared error + damping / 2 |w|², so that G + damping is its whole curvature."""

    def __init__(self, n=80, p=12, n_queries=9):
        rng = np.random.default_rng(0)
        self.X, self.Q = rng.normal(size=(n, p)), rng.normal(size=(n_queries, p))
        truth = rng.normal(size=p)
        self.y, self.y_query = self.X @ truth + rng.normal(size=n), self.Q @ truth + rng.normal(size=n_queries)
        self.w = self.refit(np.ones(n))
        self.kernel = Kernel(
            self.X @ self.X.T, self.Q @ self.X.T, self.X @ self.w - self.y, self.Q @ self.w - self.y_query
        )

    def refit(self, weights):
        """Minimum of sum of weights * squared errors / n + damping / 2 |w|²."""
        n, p = self.X.shape
        matrix = 2 * (self.X.T * weights) @ self.X / n + DAMPING * np.eye(p)
        return np.linalg.solve(matrix, 2 * (self.X.T * weights) @ self.y / n)

    def query_losses(self, w):
        return (self.Q @ w - self.y_query) ** 2


@pytest.fixture(scope="module")
def linear():
    return Linear()


def test_scores_are_the_derivative_of_real_refits(linear):
    n, step = len(linear.y), 1e-5
    for i in (0, 17, 79):
        more, fewer = (np.ones(n) for _ in range(2))
        more[i] += step
        fewer[i] -= step
        slope = (linear.query_losses(linear.refit(more)) - linear.query_losses(linear.refit(fewer))) / (2 * step)
        assert np.allclose(-linear.kernel.scores(DAMPING)[:, i] / n, slope, rtol=1e-6, atol=1e-9)
        moved = linear.Q @ (linear.refit(more) - linear.refit(fewer)) / (2 * step)
        assert np.allclose(linear.kernel.prediction_shifts(DAMPING)[:, i], moved, rtol=1e-6, atol=1e-9)


def test_scores_equal_the_inverse_in_the_space_of_parameters(linear):
    n, p = linear.X.shape
    inverse = np.linalg.inv(2 * linear.X.T @ linear.X / n + DAMPING * np.eye(p))
    k = linear.kernel
    gradients = [2 * r[:, None] * x for r, x in ((k.query_residuals, linear.Q), (k.train_residuals, linear.X))]
    assert np.abs(k.scores(DAMPING) - gradients[0] @ inverse @ gradients[1].T).max() < 1e-8
    assert np.abs(k.gradient_products() - gradients[0] @ gradients[1].T).max() < 1e-8


def test_leave_one_out_is_real(linear):
    n = len(linear.y)
    for i in (0, 40):
        without = linear.refit(np.arange(n) != i)
        assert linear.kernel.leave_one_out(DAMPING)[i] == pytest.approx(linear.X[i] @ without - linear.y[i], abs=1e-8)


def test_self_influence_is_the_score_on_oneself(linear):
    n, k = len(linear.y), linear.kernel
    itself = Kernel(k.train, k.train, k.train_residuals, k.train_residuals)
    assert np.allclose(np.diag(itself.scores(DAMPING)) / (2 * n), k.self_influence(DAMPING), atol=1e-10)


def test_the_largest_eigenvalue(linear):
    n = len(linear.y)
    assert linear.kernel.largest_eigenvalue == pytest.approx(np.linalg.eigvalsh(2 * linear.X.T @ linear.X / n)[-1])


def test_the_kernel_of_a_model_holds_its_derivatives_in_the_order_of_the_tables(tiny):
    queries = TABLE.iloc[[3, 1]]
    kernel = influence_kernel(tiny, TABLE, queries)
    params, rows, residuals = influence.trained_parameters(tiny), [], []
    for i in range(len(TABLE)):
        (batch,), _ = molecule_batches(tiny, TABLE.iloc[[i]], 1)
        tracked = {name: p.clone().requires_grad_() for name, p in params.items()}
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        value = torch.func.functional_call(tiny, tracked, kwargs=inputs).logits.squeeze() / tiny.config.label_std
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(tracked.values()))]))
        residuals.append(value.item() - TABLE["label"][i] / tiny.config.label_std)
    J = torch.stack(rows).detach().numpy()
    assert np.allclose(kernel.train, J @ J.T, rtol=2e-3)
    assert np.allclose(kernel.cross, J[[3, 1]] @ J.T, rtol=2e-3)
    assert np.allclose(kernel.train_residuals, residuals) and np.allclose(
        kernel.query_residuals, np.take(residuals, [3, 1])
    )


def test_the_kernel_agrees_with_the_solvers(mini):
    model, train, target, _ = mini
    kernel = influence_kernel(model, train, target, parameters="head")
    one_batch = dict(influence_damping=0.05, influence_depth=500, influence_batch_size=len(train))
    found = influence_scores(model, train, target, train, settings("class", **one_batch), parameters="head")
    assert found.direction.residual < 1e-3
    exact = kernel.scores(found.direction.damping).mean(axis=0)
    assert found.direction.damping / 0.05 == pytest.approx(kernel.largest_eigenvalue, rel=0.2)
    assert np.allclose(found.scores, exact, atol=0.02 * np.abs(exact).max())


def test_a_sketch_keeps_the_products_roughly(mini):
    model, train, target, _ = mini
    whole = influence_kernel(model, train.head(24), target.head(8))
    sketched = influence_kernel(model, train.head(24), target.head(8), sketch=16384)
    assert np.corrcoef(whole.cross.ravel(), sketched.cross.ravel())[0, 1] > 0.99
    other = influence_kernel(model, train.head(24), target.head(8), sketch=64)
    assert not np.allclose(sketched.cross, other.cross, rtol=0.02)


def test_too_little_memory_is_refused_with_the_remedy(tiny):
    with pytest.raises(DataError, match="sketch=16384"):
        influence_kernel(tiny, TABLE, TABLE, memory=1e-6)
    with pytest.raises(DataError, match="damping is 0"):
        influence_kernel(tiny, TABLE, TABLE).scores(0)


def test_the_model_must_be_the_same_function_twice(tiny):
    with pytest.raises(DataError, match="train mode"):
        influence_kernel(tiny.train(), TABLE, TABLE)


@pytest.mark.parametrize("which", ["train", "queries"])
def test_a_label_that_is_missing_is_named_by_its_row(tiny, which):
    tables = {"train": TABLE, "queries": TABLE}
    tables[which] = TABLE.assign(label=[0, 1, np.nan, 4, 1.5])
    with pytest.raises(DataError, match=rf"{which}: row 2 \(CC\(=O\)O\) has the label nan"):
        influence_kernel(tiny, **tables)
