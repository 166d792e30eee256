"""Differentiating through a training: against finite differences of all of it, and against refits of a ridge."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from molft_utils import DataError, DivergenceError, load_lipophilicity
from molft_utils.influence.unrolled import Recipe, Training, antisymmetry, unrolled_scores

#: Eight steps: in each epoch three of four molecules and one of two.
SHORT = Recipe(epochs=2, batch_size=4, learning_rate=3e-3, eps_root=1e-5, clip=None)


@pytest.fixture(scope="module")
def tables():
    table = load_lipophilicity()
    short = table[table["smiles"].str.len() < 30].reset_index(drop=True)
    return short[:14], short[14:18]


def losses(training, weights, queries):
    """Squared errors of the queries after the training, in squared standard deviations of the labels."""
    predictions = training.predict(training.run(torch.tensor(weights))[-1].theta, queries)
    return ((predictions - queries["label"].to_numpy()) / training.model.config.label_std) ** 2


@pytest.mark.parametrize("changes", [{}, {"clip": 0.5}, {"weight_decay": 3.0, "warmup": 0.0}, {"head_ridge": None}])
def test_scores_are_the_derivative_of_the_whole_training(tiny, tables, changes):
    recipe, (train, queries), h = dataclasses.replace(SHORT, **changes), tables, 1e-7
    scores = unrolled_scores(recipe, train, queries, model=copy.deepcopy(tiny)).scores
    training, direction = Training(recipe, train, tiny), np.random.default_rng(0).normal(size=len(train))
    ahead, behind = (losses(training, 1 + sign * h * direction, queries) for sign in (1, -1))
    exact, finite = -scores @ direction / len(train), (ahead - behind) / (2 * h)
    assert np.abs(finite - exact).max() < 1e-6 * np.abs(exact).max()


class LinearTraining(Training):
    """Full-batch steps on a linear model: with eps far above the gradients, AdamW is gradient descent with momentum.

    Its decay then is a ridge: the steps end where gradient + decay * sqrt(eps) * theta = 0.
    """

    def __init__(self, recipe, X, y, n_steps):
        self.recipe, self.n = recipe, len(y)
        self.start = torch.zeros(X.shape[1], dtype=torch.float64)
        self.batches = [(torch.arange(self.n), {"X": X, "y": y})] * n_steps
        self.rates = [recipe.learning_rate] * n_steps

    def losses(self, theta, batch):
        return (batch["X"] @ theta - batch["y"]) ** 2


def test_scores_agree_with_refits_of_a_ridge():
    generator = torch.Generator().manual_seed(0)
    X, Q = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (30, 3))
    y, y_query = (torch.randn(n, generator=generator, dtype=torch.float64) for n in (30, 3))
    recipe = Recipe(eps_root=1e16, learning_rate=2e7, weight_decay=3e-9, clip=None)  # a damping of 0.3, steps of 0.2
    training = LinearTraining(recipe, X, y, 500)

    def refit(w):
        return torch.linalg.solve(
            2 * (X.T * w) @ X / 30 + 0.3 * torch.eye(5, dtype=torch.float64), 2 * (X.T * w) @ y / 30
        )

    ones = torch.ones(30, dtype=torch.float64)
    kept = training.run(ones)
    assert torch.allclose(kept[-1].theta, refit(ones), rtol=0, atol=1e-10)
    residuals = Q @ kept[-1].theta - y_query
    found = training.backwards(kept, 1, 2 * residuals[:, None] * Q)
    h = 1e-5
    for i in (0, 17, 29):
        up, down = (((Q @ refit(ones + k * h * (torch.arange(30) == i)) - y_query) ** 2) for k in (1, -1))
        assert torch.allclose(found[:, i], (up - down) / (2 * h), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("every", [3, 8, 20])
def test_states_may_be_computed_again(tiny, tables, every):
    kept, again = (unrolled_scores(SHORT, *tables, every=k, model=copy.deepcopy(tiny)).scores for k in (1, every))
    assert np.array_equal(kept, again)


def test_bits_repeat_and_the_generator_is_left_alone(tiny, tables):
    before = torch.random.get_rng_state()
    one, two = (unrolled_scores(SHORT, *tables, model=copy.deepcopy(tiny)) for _ in range(2))
    assert np.array_equal(one.scores, two.scores) and np.array_equal(one.predictions, two.predictions)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_list_of_tables_asks_for_mean_losses(tiny, tables):
    train, queries = tables
    single = unrolled_scores(SHORT, train, queries, model=copy.deepcopy(tiny))
    means = unrolled_scores(SHORT, train, [queries[:3], queries[3:]], model=copy.deepcopy(tiny))
    assert np.allclose(means.scores, [single.scores[:3].mean(axis=0), single.scores[3]], rtol=1e-9, atol=1e-12)
    assert np.array_equal(means.predictions, single.predictions)


def test_weight_zero_is_absence_without_rescaling(tiny, tables):
    """A molecule of weight 0 leaves no trace: its label, once the scale is fixed, does not matter."""
    training = Training(SHORT, tables[0], tiny)
    weights = torch.ones(14)
    weights[3] = 0
    expected = training.run(weights)[-1].theta
    for rows, batch in training.batches:
        batch["labels"][rows == 3] += 5
    assert torch.equal(training.run(weights)[-1].theta, expected)


def test_antisymmetry_tells_smooth_from_rough(tiny, tables, monkeypatch):
    train, queries = tables
    monkeypatch.setattr("molft_utils.influence.unrolled.load_model", lambda _: copy.deepcopy(tiny))
    smooth = dataclasses.replace(SHORT, eps_root=1e6, learning_rate=1.0)  # gradient descent, in small steps
    rough = dataclasses.replace(SHORT, eps_root=1e-20, learning_rate=0.1)  # all derivatives divided by their own size
    assert antisymmetry(smooth, train, queries, 0.2) > 0.999
    assert antisymmetry(rough, train, queries, 0.2) < 0.9


def test_unusable_input_is_refused(tiny, tables):
    train, queries = tables
    for wrong in ((train[:0], queries), (train, queries[:0]), (train, [])):
        with pytest.raises(DataError, match="at least one of each"):
            unrolled_scores(SHORT, *wrong, model=tiny)
    unlabelled = train.assign(label=train["label"].where(train.index != 2))
    for wrong in ((unlabelled, queries), (train, unlabelled)):
        with pytest.raises(DataError, match="row 2"):
            unrolled_scores(SHORT, *wrong, model=tiny)
    with pytest.raises(DivergenceError, match="learning rate"):
        unrolled_scores(dataclasses.replace(SHORT, learning_rate=1e200), train, queries, model=tiny)
