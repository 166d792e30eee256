"""Checks of the notebooks' exercises: a hint while the answer is missing or wrong, a word when it is right."""

from typing import Any

import numpy as np


def check(answer: Any, expected: Any, hint: str, tolerance: float = 0.0) -> None:
    """Compare an answer with the expected one and print what to do.

    Parameters
    ----------
    answer
        ``...`` while the exercise is open.
    expected
        A number, an array, or anything that can be compared by ``==``.
    tolerance
        Largest allowed difference, in the answer's own unit; arrays are compared element by element, and must have the
        same shape.
    """
    if answer is ...:
        print(f"Still open. Hint: {hint}")
        return
    try:
        given, right_one = np.asarray(answer, dtype=float), np.asarray(expected, dtype=float)
        right = given.shape == right_one.shape and np.allclose(given, right_one, rtol=0, atol=tolerance)
    except (TypeError, ValueError):
        right = isinstance(answer, type(expected)) and answer == expected
    print("Right." if right else f"Not yet. Hint: {hint}")
