"""Influence: exact products, a solver that solves or says that it does not, scores with the right sign."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import spearmanr
from torch.func import functional_call

from molft_utils import DataError, DivergenceError, influence, load_lipophilicity, load_model, settings, split
from molft_utils.influence import conjugate_gradient, gradient, hvp, influence_scores, lissa, scores
from molft_utils.influence.curvature import _Hessian
from molft_utils.molformer import MolformerConfig, MolformerForSequenceClassification
from molft_utils.training import molecule_batches

TINY = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, num_random_features=8,
    classifier_head="linear", num_labels=1, problem_type="regression", label_mean=2.0, label_std=1.2,
)  # fmt: skip


def squared_error(params, batch):
    x, y = batch
    return (x @ params["w"] - y) ** 2


class Ridge:
    """A ridge regression with 65 parameters whose inverse product and scores are known in closed form."""

    def __init__(self, n=3000, p=65, seed=0, condition=60.0):
        generator = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(p, p, generator=generator, dtype=torch.float64))[0]
        spread = torch.logspace(0, -3, p, dtype=torch.float64).sqrt()
        truth = torch.randn(p, generator=generator, dtype=torch.float64)

        def draw(m):
            x = torch.randn(m, p, generator=generator, dtype=torch.float64) * spread @ basis.T
            return x, x @ truth + 0.5 * torch.randn(m, generator=generator, dtype=torch.float64)

        self.train, self.target, self.candidates = draw(n), draw(300), draw(300)
        x, y = self.train
        self.hessian = 2 * x.T @ x / n
        eigenvalues = torch.linalg.eigvalsh(self.hessian)
        self.largest = float(eigenvalues[-1])
        self.damping = float((eigenvalues[-1] - condition * eigenvalues[0]) / (condition - 1))
        self.curvature = self.hessian + self.damping * torch.eye(p, dtype=torch.float64)
        # The objective is mean squared error + damping / 2 |w|^2, whose Hessian is H + damping.
        self.params = {"w": torch.linalg.solve(self.curvature, 2 * x.T @ y / n)}
        self.v = gradient(squared_error, self.params, [self.target])
        self.exact = torch.linalg.solve(self.curvature, self.v["w"])

    def batches(self, size=64, seed=0):
        order = torch.randperm(len(self.train[0]), generator=torch.Generator().manual_seed(seed))
        return [(self.train[0][i], self.train[1][i]) for i in order.split(size)]

    def error(self, solution):
        return float((solution.direction["w"] - self.exact).norm() / self.exact.norm())

    def lissa(self, batches, **options):
        return lissa(squared_error, self.params, batches, self.v, damping=self.damping, **options)


@pytest.fixture(scope="module")
def ridge():
    return Ridge()


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    model = MolformerForSequenceClassification(MolformerConfig(**TINY)).double().eval()
    for name, p in model.named_parameters():  # a trained model's biases are not zero
        if name.endswith("bias"):
            torch.nn.init.normal_(p, std=0.1)
    return model


TABLE = pd.DataFrame(
    {"smiles": ["CCO", "c1ccccc1N", "CC(=O)O", "CCCCCCCC", "C1CCNCC1C(=O)OCC"], "label": [0, 1, -1, 4, 1.5]}
)


# Hessian products


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


# Solvers


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
    found = ridge.lissa([ridge.train], depth=1)
    assert found.scale == pytest.approx(1.5 * (ridge.largest + ridge.damping), rel=0.05)
    assert f"scale {found.scale:.3g}" in capsys.readouterr().out


def test_a_large_damping_does_not_hide_the_largest_eigenvalue():
    generator = torch.Generator().manual_seed(0)
    leading = torch.zeros(10_000, dtype=torch.float64)
    leading[0] = 1.0
    x = 7 * leading.repeat(8, 1)  # Hessian 98 along one of 10,000 axes, zero along the others
    v = {"w": torch.randn(10_000, generator=generator, dtype=torch.float64)}
    found = lissa(squared_error, {"w": leading}, [(x, torch.zeros(8))], v, damping=5.0, depth=100)
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
        conjugate_gradient(saddle, params, [batch], v, damping=0.5)
    with pytest.raises(DivergenceError, match="raise the damping"):
        lissa(saddle, params, [batch], v, damping=0.5)
    assert conjugate_gradient(saddle, params, [batch], v, damping=3.0).residual < 1e-3


def test_conjugate_gradient_is_the_reference(ridge):
    found = conjugate_gradient(
        squared_error, ridge.params, ridge.batches(), ridge.v, damping=ridge.damping, tolerance=1e-8
    )
    assert ridge.error(found) < 1e-6
    assert math.isnan(found.scale) and found.history["residual"].iloc[-1] == found.residual


def test_tolerance_stops_early_and_the_history_tells(ridge):
    found = ridge.lissa([ridge.train], depth=4000, tolerance=0.05)
    assert found.residual <= 0.05 and found.n_products < 1000
    assert found.history["n_products"].is_monotonic_increasing
    exact = _Hessian(squared_error, ridge.params, [ridge.train], ridge.damping)
    r = exact.on_batch(0, found.direction["w"]) - ridge.v["w"]
    assert found.residual == pytest.approx(float(r.norm() / ridge.v["w"].norm()))


def test_the_residual_is_that_of_all_batches(ridge):
    for depth, looks in ((1000, [1, 2, 4, 8, 16, 31, 62, 125, 250, 500, 1000]), (94, [94])):
        found = ridge.lissa(ridge.batches(), depth=depth)
        r = ridge.curvature @ found.direction["w"] - ridge.v["w"]
        assert found.residual == pytest.approx(float(r.norm() / ridge.v["w"].norm()), rel=1e-6)
        # A look takes 47 products, and all looks together half of the depth.
        assert found.history["n_products"].tolist() == looks[-max(1, depth // 94) :]


def test_same_seed_same_bits(ridge):
    first, second, other = (ridge.lissa(ridge.batches(), depth=50, seed=s).direction["w"] for s in (3, 3, 4))
    assert torch.equal(first, second) and not torch.equal(first, other)


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
    solution = conjugate_gradient(loss, params, [train], v, damping=decay, depth=200, tolerance=1e-6)
    before = float(loss(params, target).mean())
    gains = [
        before - float(loss(fitted(params, (pool[0][i : i + 1], pool[1][i : i + 1])), target).mean()) for i in range(50)
    ]
    ours, plain = (spearmanr(scores(loss, params, [pool], s), gains)[0] for s in (solution.direction, v))
    assert ours > 0.8
    assert ours > plain


# Molecules


@pytest.fixture(scope="module")
def mini():
    """The mini checkpoint with a head fitted by ridge regression, and some molecules."""
    parts = split(load_lipophilicity())
    train, target = parts.train.head(256), parts.validation.head(48)
    model = load_model("mini")
    model.config.canonical_smiles = True
    model.config.label_mean, model.config.label_std = float(train["label"].mean()), float(train["label"].std())
    batches, rows = molecule_batches(model, train, 64)
    with torch.no_grad():
        pooled = torch.cat(
            [model.molformer(b["input_ids"], b["attention_mask"]).pooler_output for b in batches]
        ).double()
        y = (torch.tensor(train["label"].to_numpy()[rows]) - model.config.label_mean) / model.config.label_std
        weight = torch.linalg.solve(pooled.T @ pooled + 10 * torch.eye(128), pooled.T @ y)
        model.classifier.out_proj.weight[:] = weight.float()
    return model, train, target, parts.test.head(60)


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
    for size in (1, 7, 60):
        batches, rows = molecule_batches(model, candidates, size)
        found.append(scores(loss, params, batches, direction)[torch.tensor(rows).argsort()])
    for other in found[1:]:
        assert (other - found[0]).norm() < 1e-5 * found[0].norm()


def test_lissa_and_conjugate_gradients_agree_on_the_head(mini):
    model, train, target, candidates = mini
    cfg = settings("class", influence_damping=0.1, influence_depth=1000)
    first = influence_scores(model, train, target, candidates, cfg, parameters="head")
    reference = influence_scores(
        model, train, target, candidates, cfg.replace(influence_solver="cg"), parameters="head"
    )
    assert reference.direction.residual < 1e-3
    assert spearmanr(first.scores, reference.scores)[0] > 0.95


def test_result_tells_what_it_is(mini):
    model, train, target, candidates = mini
    cfg = settings("smoke", influence_depth=4, influence_batch_size=16)
    before = {name: p.clone() for name, p in model.named_parameters()}
    honest = influence_scores(model, train, target, candidates, cfg)
    leaky = influence_scores(model, train, target, candidates, cfg, parameters="head", target_name="test")
    assert "LEAK" in str(leaky) and "LEAK" not in str(honest)
    assert honest.table["score"].is_monotonic_decreasing
    assert np.allclose(honest.table["score"].loc[candidates.index], honest.scores)
    assert set(honest.direction.direction) == set(before) and not model.training
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
    found = {which: influence_scores(model, train, target, candidates, cfg, which) for which in ("all", "head")}
    assert found["all"].scores.isfinite().all()
    # The head's part of the gradient product is the same, whichever way it is computed.
    loss = influence.molecule_loss(model)
    head = influence.trained_parameters(model, "head")
    v = gradient(loss, head, molecule_batches(model, target, 64)[0])
    batches, rows = molecule_batches(model, candidates, 64)
    slow = scores(loss, head, batches, v)[torch.tensor(rows).argsort()]
    assert np.allclose(found["head"].table["dot_product"].loc[candidates.index], slow, rtol=1e-3, atol=1e-5)


def test_train_mode_and_a_redrawn_omega_are_refused(tiny):
    with pytest.raises(DataError, match="train mode"):
        influence.molecule_loss(tiny.train())
    redrawing = load_model("mini", deterministic_eval=False)
    with pytest.raises(DataError, match="deterministic_eval"):
        influence.molecule_loss(redrawing)


def test_empty_tables_and_unknown_parameters_are_refused(tiny):
    with pytest.raises(DataError, match="no molecules"):
        molecule_batches(tiny, TABLE.head(0), 2)
    with pytest.raises(DataError, match="choose 'all' or 'head'"):
        influence.trained_parameters(tiny, "tail")
    for p in tiny.parameters():
        p.requires_grad_(False)
    with pytest.raises(DataError, match="no parameters that train"):
        influence.trained_parameters(tiny)
