"""``check``: an answer is right, open, a usual mistake, or a miss that earns the next hint."""

from typing import Any

from ...errors import DataError
from . import choosing, reading
from .exercise import Exercise, Missed

EXERCISES = {**reading.EXERCISES, **choosing.EXERCISES}

#: Exercise -> how often an answer missed in this session.
_misses: dict[str, int] = {}


def check(number: str, answer: Any, *given: Any) -> None:
    """Check an answer to an exercise and print what to do.

    Parameters
    ----------
    number
        For instance "04.2": the second exercise of notebook 4.
    answer
        ``...`` or None while the exercise is open.
    *given
        What the notebook has computed and the check needs.

    Raises
    ------
    DataError
        If there is no such exercise.
    """
    if number not in EXERCISES:
        raise DataError(f"there is no exercise {number!r}; there are {', '.join(sorted(EXERCISES))}")
    exercise = EXERCISES[number]
    if answer is ... or answer is None:
        print(f"{number} is still open: put your answer in place of the dots.")
        return
    try:
        remark = exercise.grade(answer, *given)
    except Missed as miss:
        print(f"{number}: not yet. {str(miss) or _next_hint(number, exercise)}")
    except Exception as error:  # the student's own code: any mistake in it is a miss, and no traceback of ours
        print(
            f"{number}: not yet. Your code stopped with {type(error).__name__}: {error}. {_next_hint(number, exercise)}"
        )
    else:
        _misses.pop(number, None)
        verdict = "open, and yours to judge" if exercise.open else "right"
        print(f"{number}: {verdict}." + (f" {remark}" if remark else ""))


def _next_hint(number: str, exercise: Exercise) -> str:
    """The first hint after the first miss, the second after all others."""
    _misses[number] = _misses.get(number, 0) + 1
    return f"Hint: {exercise.hints[min(_misses[number], 2) - 1]}"
