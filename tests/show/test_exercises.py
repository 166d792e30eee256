"""The exercise checks: a hint while open or wrong, a word when right."""

import numpy as np
import pytest

from molft_utils.show import check


@pytest.mark.parametrize(
    ("answer", "expected", "tolerance", "word"),
    [
        (..., 1.0, 0.0, "Still open. Hint: think"),
        (2, 2, 0.0, "Right."),
        (2.4, 2.0, 0.5, "Right."),
        (2.6, 2.0, 0.5, "Not yet. Hint: think"),
        ("O", "O", 0.0, "Right."),
        ("N", "O", 0.0, "Not yet. Hint: think"),
        (np.array([1.0, 2.0]), [1.0, 2.0], 0.0, "Right."),
        ((20, 6000), (20, 6000), 0.0, "Right."),
        (np.float64(2.0), 2, 0.0, "Right."),
        (np.array(2.0), 2, 0.0, "Right."),
        (1.0, [1.0, 1.0], 0.0, "Not yet. Hint: think"),
        ([1.0, 1.0], 1.0, 0.0, "Not yet. Hint: think"),
        ([1.0], 1.0, 0.0, "Not yet. Hint: think"),
        ([[1.0, 2.0]], [1.0, 2.0], 0.0, "Not yet. Hint: think"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], 0.0, "Not yet. Hint: think"),
    ],
)
def test_check_says_what_to_do(capsys, answer, expected, tolerance, word):
    check(answer, expected, hint="think", tolerance=tolerance)
    assert capsys.readouterr().out.strip() == word
