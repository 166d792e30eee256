"""The exact kernel: kernel ridge regression on a linear model, real leave-one-out there, the solvers elsewhere."""

import numpy as np
import pytest
import torch
from ridge_problem import TABLE

from molft_utils import DataError, influence, settings
from molft_utils.influence import Kernel, KernelPath, influence_kernel, influence_scores
from molft_utils.influence.kernel import chunk_size
from molft_utils.molformer import MolformerConfig, MolformerForSequenceClassification
from molft_utils.training import Moment, molecule_batches

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
        assert np.allclose(linear.kernel.attributions(DAMPING)[:, i], moved, rtol=1e-6, atol=1e-9)


def test_scores_equal_the_inverse_in_the_space_of_parameters(linear):
    n, p = linear.X.shape
    inverse = np.linalg.inv(2 * linear.X.T @ linear.X / n + DAMPING * np.eye(p))
    k = linear.kernel
    gradients = [2 * r[:, None] * x for r, x in ((k.query_residuals, linear.Q), (k.train_residuals, linear.X))]
    assert np.abs(k.scores(DAMPING) - gradients[0] @ inverse @ gradients[1].T).max() < 1e-8
    assert np.abs(k.gradient_products() - gradients[0] @ gradients[1].T).max() < 1e-8


def test_leave_one_out_self_influence_and_the_largest_eigenvalue(linear):
    n, k = len(linear.y), linear.kernel
    for i in (0, 40):
        without = linear.refit(np.arange(n) != i)
        assert k.leave_one_out(DAMPING)[i] == pytest.approx(linear.X[i] @ without - linear.y[i], abs=1e-8)
    itself = Kernel(k.train, k.train, k.train_residuals, k.train_residuals)  # self-influence: the score on oneself
    assert np.allclose(np.diag(itself.scores(DAMPING)) / (2 * n), k.self_influence(DAMPING), atol=1e-10)
    assert k.largest_eigenvalue == pytest.approx(np.linalg.eigvalsh(2 * linear.X.T @ linear.X / n)[-1])


def derivatives(tiny):
    """Those of each molecule's standardised prediction [n, p], and the residuals [n]."""
    params, rows, residuals = influence.trained_parameters(tiny), [], []
    for i in range(len(TABLE)):
        (batch,), _ = molecule_batches(tiny, TABLE.iloc[[i]], 1)
        tracked = {name: p.clone().requires_grad_() for name, p in params.items()}
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        value = torch.func.functional_call(tiny, tracked, kwargs=inputs).logits.squeeze() / tiny.config.label_std
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(tracked.values()))]))
        residuals.append(value.item() - TABLE["label"][i] / tiny.config.label_std)
    return torch.stack(rows).detach().numpy(), np.array(residuals)


def test_the_kernel_of_a_model_holds_its_derivatives_in_the_order_of_the_tables(tiny):
    kernel, (J, residuals) = influence_kernel(tiny, TABLE, TABLE.iloc[[3, 1]]), derivatives(tiny)
    assert np.allclose(kernel.train, J @ J.T, rtol=2e-3)
    assert np.allclose(kernel.cross, J[[3, 1]] @ J.T, rtol=2e-3)
    assert np.allclose(kernel.train_residuals, residuals)
    assert np.allclose(kernel.query_residuals, residuals[[3, 1]])


def test_gradients_of_a_large_model_are_computed_few_at_a_time(tiny, monkeypatch):
    with torch.device("meta"):  # the published layout
        published = dict(MolformerForSequenceClassification(MolformerConfig()).named_parameters())
    assert chunk_size(published) * sum(p.numel() for p in published.values()) * 4 <= 2**30
    together = influence_kernel(tiny, TABLE, TABLE, sketch=256)
    monkeypatch.setattr("molft_utils.influence.kernel.CHUNK_BYTES", 1)
    assert np.allclose(influence_kernel(tiny, TABLE, TABLE, sketch=256).train, together.train, rtol=1e-4, atol=1e-6)


@pytest.fixture
def moments(tiny):
    """Two: other parameters, and the model's own; squared gradients between 1e-12 and 1e-4."""
    torch.manual_seed(0)
    end = {name: p.clone() for name, p in influence.trained_parameters(tiny).items()}
    first = {name: p + 0.05 * torch.randn_like(p) for name, p in end.items()}
    squares = {name: 10 ** (-12 + 8 * torch.rand_like(p)) for name, p in end.items()}
    return [Moment(first, squares), Moment(end, squares)]


def test_adams_metric_divides_by_the_root_of_the_second_moment(tiny, moments):
    (kernel,) = influence_kernel(tiny, TABLE, TABLE.head(2), checkpoints=moments[1:]).kernels
    v = torch.cat([square.flatten() for square in moments[1].second_moments.values()]).numpy()
    J, _ = derivatives(tiny)
    expected = 1e-5 * (J / (np.sqrt(v) + 1e-5)) @ J.T
    assert np.allclose(kernel.train, expected, rtol=5e-3) and np.allclose(kernel.cross, expected[:2], rtol=5e-3)


def test_a_path_takes_each_moments_parameters_and_adds_up(tiny, moments):
    path = influence_kernel(tiny, TABLE, TABLE, checkpoints=moments, metric="plain")
    end = influence_kernel(tiny, TABLE, TABLE)
    tiny.load_state_dict(moments[0].parameters, strict=False)
    begun = influence_kernel(tiny, TABLE, TABLE)
    for found, kernel in zip(path.kernels, (begun, end), strict=True):
        assert np.allclose(found.train, kernel.train) and np.allclose(found.query_residuals, kernel.query_residuals)
    assert not np.allclose(begun.train, end.train, rtol=0.01)
    for what in ("scores", "attributions"):
        parts = [getattr(kernel, what)(0.1 * kernel.largest_eigenvalue) for kernel in (begun, end)]
        assert np.allclose(getattr(path, what)(0.1), sum(parts))
        assert np.allclose(getattr(KernelPath(path.kernels, 2.0), what)(0.1), 2 * sum(parts))


def test_the_kernel_agrees_with_the_solvers(tiny):
    queries = TABLE.head(2)
    kernel = influence_kernel(tiny, TABLE, queries, "head")
    one_batch = dict(influence_damping=0.05, influence_depth=300, influence_batch_size=len(TABLE))
    found = influence_scores(tiny, TABLE, queries, TABLE, settings("class", **one_batch), "head")
    assert found.direction.residual < 1e-3
    exact = kernel.scores(found.direction.damping).mean(axis=0)
    assert found.direction.damping / 0.05 == pytest.approx(kernel.largest_eigenvalue, rel=0.05)
    assert np.allclose(found.scores, exact, atol=0.02 * np.abs(exact).max())


def test_a_sketch_keeps_the_products_roughly(tiny):
    whole, sketched, other = (influence_kernel(tiny, TABLE, TABLE, sketch=n).cross for n in (None, 16384, 4))
    assert np.corrcoef(whole.ravel(), sketched.ravel())[0, 1] > 0.99
    assert not np.allclose(sketched, other, rtol=0.02)


def test_what_cannot_be_computed_is_refused_with_the_remedy(tiny):
    with pytest.raises(DataError, match="sketch=16384"):
        influence_kernel(tiny, TABLE, TABLE, memory=1e-6)
    with pytest.raises(DataError, match="damping is 0"):
        influence_kernel(tiny, TABLE, TABLE).scores(0)
    with pytest.raises(DataError, match="train mode"):
        influence_kernel(tiny.train(), TABLE, TABLE)


def test_checkpoints_that_do_not_fit_are_refused(tiny, moments):
    with pytest.raises(DataError, match="no checkpoints"):
        influence_kernel(tiny, TABLE, TABLE, checkpoints=[])
    with pytest.raises(DataError, match="metric is 'sgd'"):
        influence_kernel(tiny, TABLE, TABLE, checkpoints=moments, metric="sgd")
    with pytest.raises(DataError, match="of another model"):
        influence_kernel(tiny, TABLE, TABLE, checkpoints=[Moment({}, {})])


@pytest.mark.parametrize("which", ["train", "queries"])
def test_a_label_that_is_missing_is_named_by_its_row(tiny, which):
    tables = {"train": TABLE, "queries": TABLE}
    tables[which] = TABLE.assign(label=[0, 1, np.nan, 4, 1.5])
    with pytest.raises(DataError, match=rf"{which}: row 2 \(CC\(=O\)O\) has the label nan"):
        influence_kernel(tiny, **tables)
