"""Scores: the right sign, the same for any batch size, of a model that is left as it was."""

import math

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from ridge_problem import TABLE, squared_error
from scipy.stats import spearmanr
from torch.func import functional_call

from molft_utils import DataError, DivergenceError, influence, load_model, settings
from molft_utils.influence import conjugate_gradient, gradient, influence_scores, scores
from molft_utils.training import molecule_batches

# Signs: adding and leaving out, really done


def refit(ridge, x, y, weights):
    """Minimum of sum of weights * squared errors / n_train + damping / 2 |w|^2."""
    n = len(ridge.train[0])
    curvature = 2 * (x.T * weights) @ x / n + ridge.damping * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(curvature, 2 * (x.T * weights) @ y / n)


@pytest.mark.parametrize("sign", [1, -1], ids=["adding", "leaving out"])
def test_scores_predict_what_adding_and_leaving_out_does(ridge, sign):
    x, y = ridge.train
    n = len(x)
    target_loss = lambda w: float(squared_error({"w": w}, ridge.target).mean())  # noqa: E731
    before = target_loss(ridge.params["w"])
    pool = ridge.candidates if sign > 0 else (x[:100], y[:100])
    predicted = scores(squared_error, ridge.params, [pool], {"w": ridge.exact})[:100] / n
    gains = []
    for i in range(100):
        weights = torch.ones(n + 1, dtype=x.dtype)
        more = torch.cat([x, pool[0][i : i + 1]]), torch.cat([y, pool[1][i : i + 1]])
        if sign < 0:
            weights[i], weights[n] = 0, 0
        gains.append(sign * (before - target_loss(refit(ridge, *more, weights))))
    assert spearmanr(predicted, gains)[0] > 0.99
    assert 0.9 < np.polyfit(predicted, gains, 1)[0] < 1.1


def test_scores_rank_refits_of_a_small_network_better_than_the_gradient_product():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    truth = lambda x: torch.sin(x[:, 0]) + x[:, 1] * x[:, 2]  # noqa: E731
    train, target, pool = (
        (x, truth(x) + 0.3 * torch.randn(len(x), dtype=x.dtype))
        for x in (torch.randn(n, 4, dtype=torch.float64) for n in (200, 200, 50))
    )
    decay = 0.01

    def loss(params, batch):
        return (functional_call(network, params, (batch[0],)).squeeze(-1) - batch[1]) ** 2

    def fitted(start, extra=None):
        params = {name: p.detach().clone().requires_grad_() for name, p in start.items()}
        optimizer = torch.optim.LBFGS(
            params.values(), max_iter=200, tolerance_grad=1e-7, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def closure():
            optimizer.zero_grad()
            value = loss(params, train).mean() + decay / 2 * sum((p**2).sum() for p in params.values())
            if extra is not None:
                value = value + loss(params, extra).sum() / len(train[0])
            value.backward()
            return value

        optimizer.step(closure)
        return {name: p.detach() for name, p in params.items()}

    params = fitted(dict(network.named_parameters()))
    v = gradient(loss, params, [target])
    solution = conjugate_gradient(
        loss, params, [train], v, damping=decay, depth=200, tolerance=1e-6, curvature="hessian"
    )
    before = float(loss(params, target).mean())
    gains = [
        before - float(loss(fitted(params, (pool[0][i : i + 1], pool[1][i : i + 1])), target).mean()) for i in range(50)
    ]
    ours, plain = (spearmanr(scores(loss, params, [pool], s), gains)[0] for s in (solution.direction, v))
    assert ours > 0.8
    assert ours > plain


# Molecules


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_forward_mode_scores_equal_the_loop(tiny, dtype, tolerance):
    tiny.to(dtype)
    loss, params = influence.molecule_loss(tiny), influence.trained_parameters(tiny)
    batches, _ = molecule_batches(tiny, TABLE, 2)
    singles, _ = molecule_batches(tiny, TABLE, 1)
    torch.manual_seed(2)
    direction = {name: torch.randn_like(p) for name, p in params.items()}
    fast = scores(loss, params, batches, direction)
    loop = torch.stack([sum((g * direction[n]).sum() for n, g in gradient(loss, params, [b]).items()) for b in singles])
    assert (fast - loop).abs().max() < tolerance * loop.abs().max()


def test_a_score_that_is_not_finite_raises(tiny):
    params = influence.trained_parameters(tiny)
    batches, _ = molecule_batches(tiny, TABLE, 2)
    with pytest.raises(DivergenceError, match="not finite"):
        scores(influence.molecule_loss(tiny), params, batches, {name: p * math.inf for name, p in params.items()})


def test_padding_and_batch_size_do_not_change_scores(mini):
    model, _, target, candidates = mini
    loss, params = influence.molecule_loss(model), influence.trained_parameters(model)
    direction = gradient(loss, params, molecule_batches(model, target, 64)[0])
    found = []
    for size in (1, 7, 30):
        batches, rows = molecule_batches(model, candidates, size)
        found.append(scores(loss, params, batches, direction)[torch.tensor(rows).argsort()])
    for other in found[1:]:
        assert (other - found[0]).norm() < 1e-5 * found[0].norm()


def test_result_tells_what_it_is(mini):
    model, train, target, candidates = mini
    cfg = settings("smoke")
    before = {name: p.clone() for name, p in model.named_parameters()}
    tables = train.head(48), target, candidates
    honest = influence_scores(model, *tables, cfg)
    leaky = influence_scores(model, *tables, cfg, parameters="head", target_name="test")
    assert honest.direction.residual < 0.5  # ten products are few, and yet a solution
    assert "LEAK" in str(leaky) and "LEAK" not in str(honest)
    assert honest.table["score"].is_monotonic_decreasing
    assert np.allclose(honest.table["score"].loc[candidates.index], honest.scores)
    assert set(honest.direction.direction) == set(before) and not any(module.training for module in model.modules())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_only_what_trains_is_scored_in_a_lora_model(mini):
    _, train, target, candidates = mini
    model = load_model("mini")
    model = get_peft_model(
        model,
        LoraConfig(r=4, target_modules=["query", "value"], modules_to_save=["classifier"], init_lora_weights=False),
    ).eval()
    params = influence.trained_parameters(model)
    assert params and all("lora_" in name or "classifier." in name for name in params)
    assert set(influence.trained_parameters(model, "head")) < set(params)
    cfg = settings("smoke", influence_depth=4, influence_batch_size=16)
    tables = train.head(64), target, candidates
    found = {which: influence_scores(model, *tables, cfg, which) for which in ("all", "head")}
    # A share of the largest eigenvalue is a damping that LoRA need not change.
    assert found["all"].scores.isfinite().all() and found["all"].scores.abs().max() > 0
    assert found["all"].direction.damping > 0 and found["all"].direction.residual < 1
    # The head's part of the gradient product is the same, whichever way it is computed.
    loss = influence.molecule_loss(model)
    head = influence.trained_parameters(model, "head")
    v = gradient(loss, head, molecule_batches(model, target, 64)[0])
    batches, rows = molecule_batches(model, candidates, 64)
    slow = scores(loss, head, batches, v)[torch.tensor(rows).argsort()]
    assert np.allclose(found["head"].table["dot_product"].loc[candidates.index], slow, rtol=1e-3, atol=1e-5)


def test_train_mode_and_a_redrawn_omega_are_refused(tiny):
    tables = dict.fromkeys(("train", "target", "candidates"), TABLE)
    for part in (tiny, tiny.classifier):  # a part of the model: neither passed over nor set right in silence
        tiny.eval()
        part.train()
        with pytest.raises(DataError, match="train mode"):
            influence_scores(tiny, **tables, settings=settings("smoke"))
        assert part.training
    with pytest.raises(DataError, match="deterministic_eval"):
        influence.molecule_loss(load_model("mini", deterministic_eval=False))


def test_empty_tables_and_unknown_parameters_are_refused(tiny):
    with pytest.raises(DataError, match="no rows to make batches from"):
        molecule_batches(tiny, TABLE.head(0), 2)
    with pytest.raises(DataError, match="choose 'all' or 'head'"):
        influence.trained_parameters(tiny, "tail")
    for p in tiny.parameters():
        p.requires_grad_(False)
    with pytest.raises(DataError, match="no parameters that train"):
        influence.trained_parameters(tiny)


@pytest.mark.parametrize("which", ["train", "target", "candidates"])
@pytest.mark.parametrize("value", [math.nan, None, -math.inf])
def test_a_label_that_is_no_finite_number_is_named_by_its_table_and_row(tiny, which, value):
    tables = dict.fromkeys(("train", "target", "candidates"), TABLE)
    tables[which] = TABLE.assign(label=[0, 1, -1, value, 1.5])
    with pytest.raises(DataError, match=rf"{which}: row 3 \(CCCCCCCC\) has the label"):
        influence_scores(tiny, **tables, settings=settings("smoke"))


def test_a_run_that_does_not_converge_gives_no_scores(tiny):
    plan = dict(influence_curvature="hessian", influence_damping=1e-3, influence_depth=100)
    tables = dict.fromkeys(("train", "target", "candidates"), TABLE)
    with pytest.raises(DivergenceError, match="raise the damping"):
        influence_scores(tiny, **tables, settings=settings("class", **plan))
