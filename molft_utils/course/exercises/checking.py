"""``check``: an answer is right, still open, a known mistake, or wrong, which earns the next hint."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import DataError, MolftError


class Missed(Exception):
    """The answer is wrong; the text, if any, names the mistake."""


@dataclasses.dataclass
class Exercise:
    """What an exercise asks for (:func:`exercise`), and how often it was missed in this session."""

    grade: Callable[..., str | None]
    expected: str
    hints: tuple[str, ...]
    is_open: bool
    n_missed: int = 0


#: Number, for instance "04.2", the second exercise of notebook 4 -> exercise.
EXERCISES: dict[str, Exercise] = {}


def exercise(number: str, expected: str, *hints: str, is_open: bool = False) -> Callable[[Callable], Callable]:
    """Make the decorated function the grader of an exercise.

    It gets the answer, and what the notebook hands over with it; it returns a remark to print, or None, and raises
    :class:`Missed` for a wrong answer. ``expected`` is the form of an answer; the ``hints`` come one after the other.
    An open exercise has no single right answer: the remark says what was found.
    """

    def register(grade: Callable[..., str | None]) -> Callable[..., str | None]:
        EXERCISES[number] = Exercise(grade, expected, hints, is_open)
        return grade

    return register


def check(number: str, answer: Any, *given: Any) -> None:
    """Check an answer to an exercise, and print the result.

    ``given`` is what the notebook has computed and the check needs.

    Raises
    ------
    DataError
        If there is no such exercise, or if something that the check needs is missing.
    """
    if number not in EXERCISES:
        raise DataError(f"there is no exercise {number!r}; there are {', '.join(sorted(EXERCISES))}")
    asked = EXERCISES[number]
    try:
        inspect.signature(asked.grade).bind(answer, *given)
    except TypeError as error:
        raise DataError(f"check({number!r}, answer, ...): {error}; run the cell as it stands in the notebook") from None
    print(f"{number}: {_verdict(asked, answer, given)}")


def _verdict(asked: Exercise, answer: Any, given: tuple) -> str:
    """What to tell the student. Any error in the student's code is a miss, and never a traceback of ours."""
    if answer is ...:
        return f"still open: put {asked.expected} in place of the dots."
    if answer is None or (asked.expected.startswith("the function") and not callable(answer)):
        return f"not yet: expected {asked.expected}, got {_form(answer)}."
    try:
        remark = asked.grade(answer, *given)
    except Missed as miss:
        return f"not yet: {str(miss) or _next_hint(asked)}"
    except MolftError as error:
        return f"not yet: {error}"
    except Exception as error:
        return f"not yet: {type(error).__name__}: {error}. Expected {asked.expected}. {_next_hint(asked)}"
    asked.n_missed = 0
    return f"{'open, and yours to judge' if asked.is_open else 'right'}.{f' {remark}' if remark else ''}"


def _next_hint(asked: Exercise) -> str:
    """The first hint after the first miss, the second after all others."""
    asked.n_missed += 1
    return f"Hint: {asked.hints[min(asked.n_missed, 2) - 1]}"


def require_close(answer: Any, expected: Any, tolerance: float, mistakes: Mapping[str, Any] | None = None) -> None:
    """Raise :class:`Missed` unless an answer has the expected shape and values, up to ``tolerance``.

    ``mistakes``: what to say -> the value that a usual mistake gives.
    """
    given, right = np.asarray(answer, dtype=float), np.asarray(expected, dtype=float)
    if given.shape != right.shape:
        raise Missed(f"expected the shape {list(right.shape)}, got {list(given.shape)}.")
    if np.allclose(given, right, rtol=0, atol=tolerance):
        return
    for text, value in (mistakes or {}).items():
        if np.shape(value) == right.shape and np.allclose(given, value, rtol=0, atol=tolerance):
            raise Missed(text)
    raise Missed


def _form(answer: Any) -> str:
    return f"an array of shape {list(np.shape(answer))}" if np.ndim(answer) else repr(answer)
