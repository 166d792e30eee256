"""Shapley values by enumeration are means over all permutations; sampling every permutation gives the same."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molft_utils.shapley import exact_values, permutation_values

#: Utilities of the 2^n coalitions of 2 to 5 players; a coalition's index has bit i where player i belongs to it.
GAMES = st.integers(2, 5).flatmap(lambda n: st.lists(st.integers(-50, 50), min_size=2**n, max_size=2**n))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(GAMES)
def test_enumeration_is_the_mean_over_permutations_for_any_game(table):
    """The definition, from which the axioms follow: efficiency, symmetry, null player, linearity."""
    n = int(math.log2(len(table)))
    utility = lambda players: float(table[sum(1 << i for i in players)])  # noqa: E731
    expected = np.zeros(n)
    for permutation in itertools.permutations(range(n)):
        for k, player in enumerate(permutation):
            expected[player] += (utility(permutation[: k + 1]) - utility(permutation[:k])) / math.factorial(n)
    assert np.abs(exact_values(utility, n) - expected).max() < 1e-9


@pytest.mark.parametrize("n", [2, 6])
def test_all_permutations_equal_enumeration(problem, ridge_utility, n):
    data = problem(n, d=3, q=10)
    values = permutation_values(*data, n_permutations=None)
    exact = exact_values(ridge_utility(*data), n)
    assert np.abs(values.values - exact).max() < 1e-12 * max(1, np.abs(exact).max())
    assert (values.counts == math.factorial(n)).all() and values.kind == "Shapley value"
    assert np.array_equal(values.standard_error, np.zeros(n))
