"""Differentiating through a training: against finite differences of all of it, and against refits of a ridge."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from molft_utils import DataError, load_lipophilicity
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
    recipe, (train, queries) = dataclasses.replace(SHORT, **changes), tables
    scores = unrolled_scores(recipe, train, queries, model=copy.deepcopy(tiny)).scores
    training = Training(recipe, train, tiny)
    direction = np.random.default_rng(0).normal(size=len(train))

    def slope(h):
        up, down = (losses(training, 1 + sign * h * direction, queries) for sign in (1, -1))
        return (up - down) / (2 * h)

    exact = -scores @ direction / len(train)
    for h in (1e-3,1e-4,1e-5,1e-6,1e-7): print("H",h, np.abs(slope(h)-exact).max()/np.abs(exact).max())
    finite = slope(1e-5)
    assert np.abs(finite - exact).max() < 1e-6 * np.abs(exact).max()
