"""Enumeration: Shapley's formula and axioms on random games, and the order of the players without effect."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molft_utils.shapley import exact_values, permutation_values

TOLERANCE = 1e-9  # worths are at most 50
repeatable = settings(deadline=None, derandomize=True, max_examples=60)


def worths(n: int) -> st.SearchStrategy[list[int]]:
    """Worths of the 2^n coalitions of n players; a coalition's place has bit i where player i belongs to it."""
    return st.lists(st.integers(-50, 50), min_size=2**n, max_size=2**n)


games = st.integers(2, 5).flatmap(worths)


def utility(worth: list[int]) -> Callable[[tuple[int, ...]], float]:
    return lambda players: float(worth[sum(1 << i for i in players)])


def n_players(worth: list[int]) -> int:
    return int(math.log2(len(worth)))


@repeatable
@given(games)
def test_efficiency_the_values_share_out_the_whole(worth):
    values = exact_values(utility(worth), n_players(worth))
    assert abs(values.sum() - (worth[-1] - worth[0])) < TOLERANCE


@repeatable
@given(games, st.data())
def test_symmetry_players_who_add_the_same_are_worth_the_same(worth, data):
    i, j = data.draw(st.permutations(range(n_players(worth))))[:2]

    def alike(players: tuple[int, ...]) -> float:
        """Either of the two counts as i, whichever it is."""
        one = len({i, j} & set(players)) == 1
        return utility(worth)(tuple({*(set(players) - {j}), i}) if one else players)

    values = exact_values(alike, n_players(worth))
    assert abs(values[i] - values[j]) < TOLERANCE


@repeatable
@given(games, st.data())
def test_null_player_who_never_adds_anything_is_worth_nothing(worth, data):
    null = data.draw(st.sampled_from(range(n_players(worth))))
    values = exact_values(lambda players: utility(worth)(tuple(set(players) - {null})), n_players(worth))
    assert abs(values[null]) < TOLERANCE


@repeatable
@given(st.integers(2, 5).flatmap(lambda n: st.tuples(worths(n), worths(n))), st.integers(-3, 3), st.integers(-3, 3))
def test_linearity_values_of_a_mixture_are_the_mixture_of_values(pair, a, b):
    first, second = pair
    n, mixture = n_players(first), [a * u + b * w for u, w in zip(first, second, strict=True)]
    separate = a * exact_values(utility(first), n) + b * exact_values(utility(second), n)
    assert np.abs(exact_values(utility(mixture), n) - separate).max() < TOLERANCE


@repeatable
@given(games, st.data())
def test_relabelled_players_keep_their_values(worth, data):
    names = data.draw(st.permutations(range(n_players(worth))))  # new player i is old player names[i]
    relabelled = exact_values(lambda players: utility(worth)(tuple(names[i] for i in players)), len(names))
    assert np.abs(relabelled - exact_values(utility(worth), len(names))[names]).max() < TOLERANCE


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(2, 5).flatmap(lambda n: st.permutations(range(n))), st.integers(0, 1000))
def test_relabelled_molecules_keep_their_values(problem, names, seed):
    X, y, X_val, y_val = problem(len(names), d=3, q=6, seed=seed)
    values = permutation_values(X, y, X_val, y_val, n_permutations=None).values
    relabelled = permutation_values(X[names], y[names], X_val, y_val, n_permutations=None).values
    assert np.abs(relabelled - values[names]).max() < 1e-10


def test_enumeration_is_shapleys_formula():
    worth = {s: float(sum(i + 1 for i in s) ** 1.5) for k in range(4) for s in itertools.combinations(range(3), k)}
    orders = list(itertools.permutations(range(3)))
    by_orders = np.zeros(3)
    for order in orders:
        for k, player in enumerate(order):
            before, after = (tuple(sorted(order[:j])) for j in (k, k + 1))
            by_orders[player] += (worth[after] - worth[before]) / len(orders)
    assert np.allclose(exact_values(worth.__getitem__, 3), by_orders, atol=1e-12)


@pytest.mark.parametrize("n", [2, 5, 8])  # nine: tests/benchmarks/test_shapley_speed.py
def test_all_permutations_equal_enumeration(problem, ridge_utility, n):
    data = problem(n, d=3, q=10)
    values = permutation_values(*data, n_permutations=None)
    exact = exact_values(ridge_utility(*data), n)
    assert np.abs(values.values - exact).max() < 1e-12 * max(1, np.abs(exact).max())
    assert (values.counts == math.factorial(n)).all() and values.kind == "Shapley value"


def test_all_permutations_leave_no_standard_error(problem):
    exact = permutation_values(*problem(5, d=3, q=10), n_permutations=None)
    assert np.array_equal(exact.standard_error, np.zeros(5))
    sampled = permutation_values(*problem(5, d=3, q=10), n_permutations=120)
    assert (sampled.standard_error > 0).all()


def test_symmetry_and_null_player(problem):
    X, y, X_val, y_val = problem(6, d=3, q=10)
    X[1], y[1] = X[0], y[0]
    values = permutation_values(X, y, X_val, y_val, n_permutations=None).values
    assert abs(values[0] - values[1]) < 1e-12
    game = exact_values(lambda s: float(len(set(s) - {2}) ** 2), 5)  # player 2 never adds anything
    assert abs(game[2]) < 1e-12 and np.ptp(np.delete(game, 2)) < 1e-12
    assert game.sum() == pytest.approx(16)
