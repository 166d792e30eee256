"""What an exercise is, and what a wrong answer is told."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


class Missed(Exception):
    """The answer is wrong; the text, if any, tells a usual mistake from the others."""


@dataclasses.dataclass(frozen=True)
class Exercise:
    """What an exercise asks for.

    ``grade`` gets the answer and what the notebook hands over with it. It returns a remark to print, or None; it raises
    :class:`Missed` for a wrong answer. The two ``hints`` come one after the other. An ``open`` exercise has no single
    answer: its remark says what was found, and the guide has a rubric.
    """

    grade: Callable[..., str | None]
    hints: tuple[str, str]
    open: bool = False


def require_close(answer: Any, expected: Any, tolerance: float, mistakes: Mapping[str, Any] | None = None) -> None:
    """Raise :class:`Missed` unless an answer has the expected shape and values; name the mistake where it is known.

    Parameters
    ----------
    answer, expected
        Numbers, or arrays of them.
    tolerance
        Largest allowed difference.
    mistakes
        What to say -> the value that a usual mistake gives.
    """
    if _close(answer, expected, tolerance):
        return
    for text, value in (mistakes or {}).items():
        if _close(answer, value, tolerance):
            raise Missed(text)
    raise Missed


def _close(answer: Any, expected: Any, tolerance: float) -> bool:
    try:
        given, right = np.asarray(answer, dtype=float), np.asarray(expected, dtype=float)
    except (TypeError, ValueError):
        return False
    return given.shape == right.shape and bool(np.allclose(given, right, rtol=0, atol=tolerance))


def require_callable(answer: Any, form: str) -> None:
    """Raise :class:`Missed` where a function was asked for and something else was given."""
    if not callable(answer):
        raise Missed(f"The answer is the function itself: answer = {form}, without calling it.")
