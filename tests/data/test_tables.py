"""Checked tables: what is odd is listed and kept; the study of lengths."""

import numpy as np
import pandas as pd
import pytest

from molft_utils import DataError, length_study, load_lipophilicity
from molft_utils.data import canonicalise, check_table, flat_key
from molft_utils.molformer import token_lengths


@pytest.fixture(scope="module")
def lipophilicity():
    return load_lipophilicity()


def test_odd_rows_are_listed_and_kept():
    smiles = ["CCO", "OCC", "C" * 130, "CC", "CC"]
    table = check_table(pd.DataFrame({"smiles": smiles, "label": [1, 2, 3, 4, 4]}))
    assert len(table) == 5
    assert table.attrs["warnings"] == [
        "line 4 has more than 128 tokens and will be cut",
        "lines 5 and 6 are the same molecule with the same label",
        "lines 2 and 3 are the same molecule with different labels",
    ]


def test_a_long_value_is_shortened_in_the_message():
    with pytest.raises(DataError, match=r"C{150,200}\.\.\. \(5,003 characters\), label '1'\)$"):
        check_table(pd.DataFrame({"smiles": ["(" + "C" * 5_000], "label": ["1"]}))


def test_the_row_numbers_of_the_given_frame_play_no_part():
    frame = pd.DataFrame({"smiles": ["CCO", "CCN"], "label": [1.0, np.nan]}, index=[70, 7])
    with pytest.raises(DataError, match="table: line 3 has a label that is missing"):
        check_table(frame)
    assert check_table(frame.fillna(2.0)).index.tolist() == [0, 1]


def test_lipophilicity_is_the_whole_set(lipophilicity):
    assert len(lipophilicity) == 4200
    assert lipophilicity["label"].mean() == pytest.approx(2.186, abs=5e-4)
    assert lipophilicity["label"].std() == pytest.approx(1.203, abs=5e-4)
    assert lipophilicity["chembl_id"].is_unique
    canonical = [canonicalise(s) for s in lipophilicity["smiles"]]
    assert sum(a == b for a, b in zip(canonical, lipophilicity["smiles"], strict=True)) == 354
    assert 4200 - len({flat_key(s) for s in lipophilicity["smiles"]}) == 98


def test_length_study_of_the_report(lipophilicity):
    study = length_study(lipophilicity)
    assert study.n_cut == 3 and study.n == 4200 and study.n_sample == 1000
    assert study.longest == token_lengths(lipophilicity["smiles"]).max() == 207
    assert length_study(lipophilicity, seed=42) == study
