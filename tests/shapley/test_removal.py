"""Removal by value: the harmful molecules go first, and bad input is refused."""

import numpy as np
import pytest

from molft_utils import DataError
from molft_utils.shapley import permutation_values, removal_curve


def test_removal_curve_drops_the_harmful_first(problem):
    X, y, X_val, y_val = problem(240, d=32, q=200, seed=2)
    noisy = np.random.default_rng(5).choice(240, 60, replace=False)
    y[noisy] += 6 * np.random.default_rng(6).choice([-1, 1], 60)
    values = permutation_values(X, y, X_val[:100], y_val[:100], n_permutations=200, skip=0.05).values
    curve = removal_curve(X, y, values, X_val[100:], y_val[100:])
    start = curve.iloc[0]
    assert start["lowest"] == pytest.approx(start["highest"]) == pytest.approx(start["random"])
    best = curve.set_index("n_removed").loc[curve.attrs["optimum"]]
    assert 30 <= curve.attrs["optimum"] <= 120
    assert best["lowest"] < 0.7 * start["lowest"] and best["lowest"] < best["random"] < best["highest"]


def test_the_steps_are_those_asked_for(problem):
    X, y, X_val, y_val = problem(30)
    curve = removal_curve(X, y, np.arange(30.0), X_val, y_val, n_steps=3, most=0.5)
    assert list(curve["n_removed"]) == [0, 5, 10, 15]


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(values=np.full(30, np.nan)), "one finite value per molecule"),
        (dict(alpha=0.0), "alpha is 0.0"),
        (dict(most=1.0), "most is 1.0"),
        (dict(most=-0.1), "most is -0.1"),
        (dict(n_steps=0), "n_steps is 0"),
    ],
)
def test_bad_plans_of_removal_are_refused(problem, change, message):
    X, y, X_val, y_val = problem(30)
    with pytest.raises(DataError, match=message):
        removal_curve(X, y, X_choice=X_val, y_choice=y_val, **{"values": np.arange(30.0), **change})
