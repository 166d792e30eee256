"""Scores: the right sign, the same for any batch size, of a model that is left as it was."""

import math

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from ridge_problem import TABLE, squared_error
from scipy.stats import spearmanr

from molft_utils import DataError, DivergenceError, influence, settings
from molft_utils.influence import gradient, influence_scores, scores
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


# Molecules


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_forward_mode_scores_equal_the_loop_without_padding(tiny, dtype, tolerance):
    tiny.to(dtype)
    loss, params = influence.molecule_loss(tiny), influence.trained_parameters(tiny)
    batches, _ = molecule_batches(tiny, TABLE, 2)
    singles, _ = molecule_batches(tiny, TABLE, 1)
    torch.manual_seed(2)
    direction = {name: torch.randn_like(p) for name, p in params.items()}
    fast = scores(loss, params, batches, direction)
    loop = torch.stack([sum((g * direction[n]).sum() for n, g in gradient(loss, params, [b]).items()) for b in singles])
    assert (fast - loop).abs().max() < tolerance * loop.abs().max()


def test_result_tells_what_it_is(tiny):
    before = {name: p.clone() for name, p in tiny.named_parameters()}
    tables = TABLE, TABLE.head(3), TABLE.iloc[[4, 0, 2, 1, 3]]
    honest = influence_scores(tiny, *tables, settings("smoke"))
    leaky = influence_scores(tiny, *tables, settings("smoke"), parameters="head", target_name="test")
    assert "LEAK" in str(leaky) and "LEAK" not in str(honest)
    assert honest.table["score"].is_monotonic_decreasing
    assert np.allclose(honest.table["score"].loc[tables[2].index], honest.scores)
    assert set(honest.direction.direction) == set(before) and not any(module.training for module in tiny.modules())
    assert all(torch.equal(p, before[name]) for name, p in tiny.named_parameters())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own call
def test_only_what_trains_is_scored_in_a_lora_model(tiny):
    lora = LoraConfig(r=4, target_modules=["query", "value"], modules_to_save=["classifier"], init_lora_weights=False)
    model = get_peft_model(tiny, lora).double().eval()
    params, head = (influence.trained_parameters(model, which) for which in ("all", "head"))
    assert params and all("lora_" in name or "classifier." in name for name in params)
    assert set(head) < set(params)
    tables = TABLE, TABLE.head(3), TABLE.iloc[[4, 0, 2, 1, 3]]
    found = {which: influence_scores(model, *tables, settings("smoke"), which) for which in ("all", "head")}
    assert found["all"].scores.isfinite().all() and found["all"].scores.abs().max() > 0
    # The head's part of the gradient product is the same, whichever way it is computed.
    loss = influence.molecule_loss(model)
    v = gradient(loss, head, molecule_batches(model, tables[1], 64)[0])
    batches, rows = molecule_batches(model, tables[2], 64)
    slow = scores(loss, head, batches, v)[torch.tensor(rows).argsort()]
    assert np.allclose(found["head"].table["dot_product"].loc[tables[2].index], slow, rtol=1e-6)


def test_train_mode_and_a_redrawn_omega_are_refused(tiny):
    tables = dict.fromkeys(("train", "target", "candidates"), TABLE)
    for part in (tiny, tiny.classifier):  # a part of the model: neither passed over nor set right in silence
        tiny.eval()
        part.train()
        with pytest.raises(DataError, match="train mode"):
            influence_scores(tiny, **tables, settings=settings("smoke"))
        assert part.training
    tiny.eval().molformer.encoder.layer[1].attention.self.feature_map.redraw_in_evaluation = True
    with pytest.raises(DataError, match="deterministic_eval"):
        influence.molecule_loss(tiny)


def test_unknown_parameters_are_refused(tiny):
    with pytest.raises(DataError, match="choose 'all' or 'head'"):
        influence.trained_parameters(tiny, "tail")
    for p in tiny.parameters():
        p.requires_grad_(False)
    with pytest.raises(DataError, match="no parameters that train"):
        influence.trained_parameters(tiny)


@pytest.mark.parametrize("which, value", [("train", math.nan), ("target", None), ("candidates", -math.inf)])
def test_a_label_that_is_no_finite_number_is_named_by_its_table_and_row(tiny, which, value):
    tables = dict.fromkeys(("train", "target", "candidates"), TABLE)
    tables[which] = TABLE.assign(label=[0, 1, -1, value, 1.5])
    with pytest.raises(DataError, match=rf"{which}: row 3 \(CCCCCCCC\) has the label"):
        influence_scores(tiny, **tables, settings=settings("smoke"))


def test_a_run_that_does_not_converge_and_a_direction_of_infinite_length_give_no_scores(tiny):
    params, (batches, _) = influence.trained_parameters(tiny), molecule_batches(tiny, TABLE, 2)
    with pytest.raises(DivergenceError, match="not finite"):
        scores(influence.molecule_loss(tiny), params, batches, {name: p * math.inf for name, p in params.items()})
    plan = dict(influence_curvature="hessian", influence_damping=1e-3, influence_depth=100)
    tables = dict.fromkeys(("train", "target", "candidates"), TABLE)
    with pytest.raises(DivergenceError, match="raise the damping"):
        influence_scores(tiny, **tables, settings=settings("class", **plan))
