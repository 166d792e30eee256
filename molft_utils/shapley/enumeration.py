"""Shapley values by enumeration of all coalitions: exact, for a few players."""

import itertools
import math
from collections.abc import Callable

import numpy as np


def exact_values(utility: Callable[[tuple[int, ...]], float], n: int) -> np.ndarray:
    """Shapley values [n] of any game by enumeration of its 2^n coalitions (Shapley 1953).

    ``utility`` takes a sorted tuple of players.
    """
    worth = {s: utility(s) for k in range(n + 1) for s in itertools.combinations(range(n), k)}
    values = np.zeros(n)
    for s, u in worth.items():
        weight = math.factorial(len(s)) * math.factorial(n - len(s) - 1) / math.factorial(n) if len(s) < n else 0
        for i in set(range(n)) - set(s):
            values[i] += weight * (worth[tuple(sorted((*s, i)))] - u)
    return values
