"""Shapley's formula and axioms on random games; sampling every permutation gives the same values."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molft_utils.shapley import exact_values, permutation_values

TOLERANCE = 1e-9  # utilities are at most 50
repeatable = settings(deadline=None, derandomize=True, max_examples=60)


def tables(n: int) -> st.SearchStrategy[list[int]]:
    """Utilities of the 2^n coalitions of n players; a coalition's index has bit i where player i belongs to it."""
    return st.lists(st.integers(-50, 50), min_size=2**n, max_size=2**n)


games = st.integers(2, 5).flatmap(tables)


def utility(table: list[int]) -> Callable[[tuple[int, ...]], float]:
    return lambda players: float(table[sum(1 << i for i in players)])


def n_players(table: list[int]) -> int:
    return int(math.log2(len(table)))


@repeatable
@given(games)
def test_efficiency(table):
    values = exact_values(utility(table), n_players(table))
    assert abs(values.sum() - (table[-1] - table[0])) < TOLERANCE


@repeatable
@given(games, st.data())
def test_symmetry(table, data):
    i, j = data.draw(st.permutations(range(n_players(table))))[:2]

    def symmetric(players: tuple[int, ...]) -> float:
        """Either of the two counts as i, whichever it is."""
        one = len({i, j} & set(players)) == 1
        return utility(table)(tuple({*(set(players) - {j}), i}) if one else players)

    values = exact_values(symmetric, n_players(table))
    assert abs(values[i] - values[j]) < TOLERANCE


@repeatable
@given(games, st.data())
def test_null_player(table, data):
    null = data.draw(st.sampled_from(range(n_players(table))))
    values = exact_values(lambda players: utility(table)(tuple(set(players) - {null})), n_players(table))
    assert abs(values[null]) < TOLERANCE


@repeatable
@given(st.integers(2, 5).flatmap(lambda n: st.tuples(tables(n), tables(n))), st.integers(-3, 3), st.integers(-3, 3))
def test_linearity(pair, a, b):
    first, second = pair
    n, mixture = n_players(first), [a * u + b * w for u, w in zip(first, second, strict=True)]
    separate = a * exact_values(utility(first), n) + b * exact_values(utility(second), n)
    assert np.abs(exact_values(utility(mixture), n) - separate).max() < TOLERANCE


@repeatable
@given(games, st.data())
def test_relabelled_players_keep_their_values(table, data):
    names = data.draw(st.permutations(range(n_players(table))))  # new player i is old player names[i]
    relabelled = exact_values(lambda players: utility(table)(tuple(names[i] for i in players)), len(names))
    assert np.abs(relabelled - exact_values(utility(table), len(names))[names]).max() < TOLERANCE


def test_enumeration_is_the_mean_over_permutations():
    table = {s: float(sum(i + 1 for i in s) ** 1.5) for k in range(4) for s in itertools.combinations(range(3), k)}
    permutations = list(itertools.permutations(range(3)))
    expected = np.zeros(3)
    for permutation in permutations:
        for k, player in enumerate(permutation):
            before, after = (tuple(sorted(permutation[:j])) for j in (k, k + 1))
            expected[player] += (table[after] - table[before]) / len(permutations)
    assert np.allclose(exact_values(table.__getitem__, 3), expected, atol=1e-12)


@pytest.mark.parametrize("n", [2, 5, 7])  # nine: tests/benchmarks/test_shapley_speed.py
def test_all_permutations_equal_enumeration(problem, ridge_utility, n):
    data = problem(n, d=3, q=10)
    values = permutation_values(*data, n_permutations=None)
    exact = exact_values(ridge_utility(*data), n)
    assert np.abs(values.values - exact).max() < 1e-12 * max(1, np.abs(exact).max())
    assert (values.counts == math.factorial(n)).all() and values.kind == "Shapley value"
    assert np.array_equal(values.standard_error, np.zeros(n))
