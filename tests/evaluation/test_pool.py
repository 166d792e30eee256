"""One seed a student: files handed in, put together, refused where they are wrong."""

import numpy as np
import pandas as pd
import pytest

from molft_utils import DataError
from molft_utils.evaluation import gaps, hand_in, mean_gap, pooled


def rows_of(seed: int, a: float = 0.7, b: float = 0.8) -> pd.DataFrame:
    return pd.DataFrame({"cell": ["a", "b"], "seed": seed, "rmse": [a, b], "note": "mine"})


def test_what_a_class_hands_in_is_put_together(tmp_path):
    for seed in (3, 1, 2):
        hand_in(rows_of(seed, 0.7 + 0.01 * seed), tmp_path / "class")
    hand_in(rows_of(2, 0.72), tmp_path / "class")  # once more: the same file
    rows = pooled(tmp_path / "class")
    assert list(rows) == ["cell", "seed", "rmse"] and len(rows) == 6
    by_seed = gaps(rows, "a", "b")
    assert list(by_seed.index) == [1, 2, 3] and np.allclose(by_seed, [-0.09, -0.08, -0.07])
    found = mean_gap(by_seed)
    assert found.value == pytest.approx(-0.08) and found.interval[0] == pytest.approx(
        -0.08 - 4.3027 * 0.01 / 3**0.5, abs=1e-5
    )


def test_a_seed_with_one_cell_is_left_out_of_the_gaps():
    rows = pd.concat([rows_of(0), rows_of(1).head(1)])
    assert list(gaps(rows, "a", "b").index) == [0]
    with pytest.raises(DataError, match="needs two, and there are 1"):
        mean_gap(gaps(rows, "a", "b"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("cell,seed,error\na,1,0.7\n", r"9\.csv has the columns cell, seed, error; needed are cell, seed, rmse"),
        ("cell,seed,rmse\na,1,0.7\nb,1,good\n", r"9\.csv, row 3: the RMSE is no number"),
        ("", r"9\.csv cannot be read"),
        ("cell,seed,rmse\na,5,0.7\n", r"9\.csv: cell 'a' with seed 5 is in another file"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    hand_in(rows_of(5), tmp_path)
    (tmp_path / "9.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        pooled(tmp_path)


def test_wrong_rows_are_not_handed_in(tmp_path):
    with pytest.raises(DataError, match="the rows lack rmse"):
        hand_in(rows_of(0).drop(columns="rmse"), tmp_path)
    with pytest.raises(DataError, match=r"one seed; these rows have the seeds \[0, 1\]"):
        hand_in(pd.concat([rows_of(0), rows_of(1)]), tmp_path)
    with pytest.raises(DataError, match="every student writes one"):
        pooled(tmp_path)
