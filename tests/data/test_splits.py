"""Splits without a leak, and what another table shares with them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molft_utils import DataError, Split, overlap, split
from molft_utils.data import canonicalise, check_table, flat_key
from molft_utils.data.molecules import scaffold


def sides(parts: Split, key) -> list[set]:
    return [{key(s) for s in part["smiles"]} for part in (parts.train, parts.validation, parts.test)]


def test_random_split_has_the_sizes_of_the_report(parts):
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [3024, 336, 840]


@pytest.mark.parametrize("method", ["random", "scaffold"])
def test_no_molecule_is_on_two_sides_and_none_is_lost(lipophilicity, method):
    parts = split(lipophilicity, method)
    assert sorted(np.concatenate([t.index for t in (parts.train, parts.validation, parts.test)])) == list(range(4200))
    train, validation, test = sides(parts, canonicalise if method == "random" else scaffold)
    assert not (train & validation or train & test or validation & test)
    assert len(parts.test) == pytest.approx(840, abs=20) and len(parts.validation) == pytest.approx(336, abs=20)


def test_split_follows_its_seed(lipophilicity, parts):
    again, other = split(lipophilicity, seed=42), split(lipophilicity, seed=43)
    assert again.test.equals(parts.test) and not other.test.equals(parts.test)


def test_equal_molecules_stay_together():
    smiles = [f"{'C' * i}O" for i in range(1, 21)]
    table = pd.DataFrame({"smiles": smiles + [f"O{'C' * i}" for i in range(1, 21)], "label": 0.0})
    parts = split(table)
    keys = [{canonicalise(s) for s in t["smiles"]} for t in (parts.train, parts.validation, parts.test)]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    assert len(parts.test) == 8


def test_splits_refuse_too_few_rows_and_unknown_methods(lipophilicity):
    with pytest.raises(DataError, match="at least ten molecules"):
        split(lipophilicity.head(5))
    with pytest.raises(DataError, match="'random' or 'scaffold'"):
        split(lipophilicity, "time")


def test_overlap_names_row_split_and_both_labels(parts):
    there = parts.test.iloc[0]
    mine = check_table(pd.DataFrame({"smiles": ["CCCCCCCCO", canonicalise(there["smiles"])], "label": [3.0, 0.5]}))
    found = overlap(mine, parts)
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["row"], row["split"], row["label"], row["label_there"]) == (1, "test", 0.5, there["label"])


def test_overlap_without_stereochemistry(parts):
    chiral = next(s for s in parts.train["smiles"] if "@" in s)
    mine = check_table(pd.DataFrame({"smiles": [flat_key(chiral)], "label": [1.0]}))
    assert not overlap(mine, parts, stereochemistry=False).empty


#: Simple molecules, some of the same scaffold, some of one molecule written in two ways.
POOL = [
    *(f"{'C' * i}{tail}" for i in range(1, 6) for tail in ("O", "N", "Cl")),
    *(f"{tail}{'C' * i}" for i in range(1, 4) for tail in ("O", "N")),
    *(f"c1ccccc1{'C' * i}" for i in range(5)),
    *(f"{'C' * i}c1ccccc1" for i in range(1, 4)),
    *(f"C1CCCCC1{tail}" for tail in "CNO"),
    *("c1ccncc1", "Cc1ccncc1", "c1ccsc1", "c1ccoc1", "C[C@H](O)F", "C[C@@H](O)F", "F/C=C/F", "F/C=C\\F"),
]


@pytest.mark.parametrize(("method", "key"), [("random", canonicalise), ("scaffold", scaffold)])
@settings(deadline=None, derandomize=True, max_examples=100)
@given(smiles=st.lists(st.sampled_from(POOL), min_size=8, max_size=60), seed=st.integers(0, 99))
def test_a_split_of_any_table_is_a_partition_with_equal_molecules_on_one_side(method, key, smiles, seed):
    table = pd.DataFrame({"smiles": smiles, "label": np.arange(float(len(smiles)))})
    try:
        parts = split(table, method, seed)
    except DataError as error:
        assert "too few" in str(error)
        return
    rows = pd.concat([parts.train, parts.validation, parts.test])
    assert sorted(rows.index) == list(range(len(table)))
    pd.testing.assert_frame_equal(rows.sort_index(), table)
    train, validation, test = sides(parts, key)
    assert train and validation and test
    assert not (train & validation or train & test or validation & test)
