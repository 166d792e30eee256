"""Splits without a leak, and what another table shares with them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molft_utils import DataError, overlap, split
from molft_utils.data import canonicalise, check_table, flat_key
from molft_utils.data.molecules import scaffold


def test_random_split_has_the_sizes_of_the_report_and_follows_its_seed(lipophilicity, parts):
    tables = (parts.train, parts.validation, parts.test)
    assert [len(table) for table in tables] == [3024, 336, 840]
    assert sorted(np.concatenate([table.index for table in tables])) == list(range(4200))
    again, other = split(lipophilicity, seed=42), split(lipophilicity, seed=43)
    assert again.test.equals(parts.test) and not other.test.equals(parts.test)


def test_parts_of_a_scaffold_split_have_the_same_shares(lipophilicity):
    parts = split(lipophilicity.head(1000), "scaffold")
    assert len(parts.test) == pytest.approx(200, abs=5) and len(parts.validation) == pytest.approx(80, abs=5)


def test_splits_refuse_too_few_rows_and_unknown_methods(lipophilicity):
    with pytest.raises(DataError, match="at least ten molecules"):
        split(lipophilicity.head(5))
    with pytest.raises(DataError, match="'random' or 'scaffold'"):
        split(lipophilicity, "time")


def test_overlap_names_row_split_and_both_labels_and_may_pass_over_stereochemistry(parts):
    there = parts.test.iloc[0]
    mine = check_table(pd.DataFrame({"smiles": ["CCCCCCCCO", canonicalise(there["smiles"])], "label": [3.0, 0.5]}))
    found = overlap(mine, parts)
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["row"], row["split"], row["label"], row["label_there"]) == (1, "test", 0.5, there["label"])
    chiral = next(s for s in parts.train["smiles"] if "@" in s)
    mirrored = check_table(pd.DataFrame({"smiles": [flat_key(chiral)], "label": [1.0]}))
    assert overlap(mirrored, parts).empty and not overlap(mirrored, parts, stereochemistry=False).empty


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
@settings(deadline=None, derandomize=True, max_examples=60)
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
    train, validation, test = ({key(s) for s in part["smiles"]} for part in (parts.train, parts.validation, parts.test))
    assert train and validation and test
    assert not (train & validation or train & test or validation & test)
