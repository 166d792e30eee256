"""Loaders that refuse what they cannot use and list what is odd; splits without a leak."""

import numpy as np
import pandas as pd
import pytest

from molft_utils import DataError, length_study, load_lipophilicity, load_secondary, overlap, split
from molft_utils.data import canonicalise, check_table, flat_key
from molft_utils.data.molecules import scaffold
from molft_utils.data.tables import read_table
from molft_utils.making.make_data import shuffled
from molft_utils.molformer import token_lengths


@pytest.fixture(scope="module")
def lipophilicity():
    return load_lipophilicity()


@pytest.fixture(scope="module")
def parts(lipophilicity):
    return split(lipophilicity)


def load_text(tmp_path, text: str) -> pd.DataFrame:
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return load_secondary(path)


GOOD = "smiles,label\nCCO,1.0\n"
MALFORMED = {
    "an empty file": ("", "not a readable CSV"),
    "a header alone": ("smiles,label\n", "header and no rows"),
    "no SMILES column": ("name,label\nethanol,1.0\n", "no SMILES column among name, label; name exactly one column"),
    "no label column": ("smiles,weight\nCCO,46\n", "no label column among smiles, weight"),
    "two SMILES columns": ("smiles,SMILES,label\nCCO,CCO,1\n", r"several SMILES columns \(smiles, SMILES\)"),
    "two label columns": ("smiles,label,exp\nCCO,1,2\n", r"several label columns \(label, exp\)"),
    "a missing SMILES": (GOOD + ",2.0\n", "line 3 have no SMILES; fill it in or delete the line"),
    "a blank line": (GOOD + "\nCC,1\n", "line 3 have no SMILES"),
    "a SMILES of blanks": (GOOD + "   ,2.0\n", "line 3 have no SMILES"),
    "an open ring": (GOOD + "C1CC,2.0\n", r"line 3 have a SMILES that RDKit cannot read; correct it .*'C1CC'"),
    "an open bracket": (GOOD + "CC(C,2.0\n", "line 3 have a SMILES that RDKit cannot read"),
    "a valence of five": (GOOD + "CC(C)(C)(C)C,2.0\n", "line 3 have a SMILES that RDKit cannot read"),
    "an aromatic five-ring without hydrogen": (GOOD + "c1cccn1,2.0\n", "line 3 have a SMILES that RDKit cannot read"),
    "a name in place of a SMILES": (GOOD + "aspirin,2.0\n", "line 3 have a SMILES that RDKit cannot read"),
    "a missing label": (GOOD + "CC,\n", "line 3 have a label that is missing or not a finite number; give one in logD"),
    "a label in words": (GOOD + "CC,high\n", "line 3 have a label .*'high'"),
    "a label NA": (GOOD + "CC,NA\n", "line 3 have a label .*'NA'"),
    "a label nan": (GOOD + "CC,nan\n", "line 3 have a label"),
    "an infinite label": (GOOD + "CC,inf\n", "line 3 have a label .*'inf'"),
    "a decimal comma": (GOOD + 'CC,"1,5"\n', "line 3 have a label .*'1,5'"),
    "hydrogens without brackets": (GOOD + "[H]O[H],1\nHCl,1\n", "line 4 have a SMILES that RDKit cannot read"),
    "a symbol outside the vocabulary": (
        GOOD + "[Re]$[Re],1.0\n",
        "line 3 have a SMILES with .* that the tokeniser does not know",
    ),
    "a ring number of three digits": (GOOD + "C%(100)CCC%(100),1.0\n", "line 3 have a SMILES with characters"),
    "too many fields": (GOOD + "CC,1.0,2,3\n", "not a readable CSV"),
    "several faults at once": (
        "smiles,label\nC1CC,1\nCC,x\n,3\n",
        "line 4 have no SMILES.*line 2 have a SMILES.*line 3 have a label",
    ),
    "many faulty lines": ("smiles,label\n" + "CC,x\n" * 12, "lines 2, 3, 4, 5, 6, 7, 8 and 5 more have a label"),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_tables_are_refused_with_line_and_remedy(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        load_text(tmp_path, text)
    assert "mine.csv" in str(error.value)


def test_missing_file_and_unknown_source():
    with pytest.raises(DataError, match="does not exist; `make data`"):
        load_secondary("nowhere.csv")
    with pytest.raises(DataError, match="'local' or 'hub'"):
        load_lipophilicity("web")


@pytest.mark.parametrize(
    "header", ["SMILES,Label", "smiles,exp", "Canonical_SMILES,logD", " mol , y ", "Smiles,Lipophilicity"]
)
def test_usual_column_names_are_found(tmp_path, header):
    table = load_text(tmp_path, f"{header}\nCCO,-0.3\n")
    assert list(table.columns) == ["smiles", "label"] and table["label"][0] == -0.3


def test_other_columns_and_all_rows_are_kept(tmp_path):
    table = load_text(tmp_path, "id,label,smiles\na,1,CCO\nb,2,CCN\n")
    assert list(table.columns) == ["smiles", "label", "id"] and len(table) == 2


def test_odd_rows_are_listed_and_kept(tmp_path):
    long = "C" * 130
    table = load_text(tmp_path, f"smiles,label\nCCO,1\nOCC,2\n{long},3\nCC,4\nCC,4\n")
    assert len(table) == 5
    assert table.attrs["warnings"] == [
        "line 4 have more than 128 tokens and will be cut",
        "lines 5 and 6 are the same molecule with the same label",
        "lines 2 and 3 are the same molecule with different labels",
    ]


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


def test_secondary_set_is_as_its_card_says(lipophilicity, parts):
    secondary = load_secondary()
    assert len(secondary) == 300 and secondary["corrupted"].sum() == 100 and secondary["corrupted"].dtype == bool
    assert overlap(secondary, parts, stereochemistry=False).empty
    corrupted = secondary["corrupted"].to_numpy()
    places = np.flatnonzero(corrupted)
    assert 100 < places.mean() < 200, "the corrupted rows are not in one place"


@pytest.mark.parametrize("written, read", [("TRUE,FALSE", [True, False]), ("True,no", None)])
def test_marks_of_wrong_labels_are_read_or_refused(tmp_path, written, read):
    first, second = written.split(",")
    (tmp_path / "x.csv").write_text(f"smiles,label,corrupted\nCCO,1.0,{first}\nCCN,2.0,{second}\n")
    if read is None:
        with pytest.raises(DataError, match="line 3: corrupted is 'no'; write True or False"):
            read_table(tmp_path / "x.csv")
    else:
        assert read_table(tmp_path / "x.csv")["corrupted"].tolist() == read


def test_shuffled_labels_are_the_same_labels_and_none_stays():
    labels = np.arange(20.0)
    moved = shuffled(labels, np.random.default_rng(0))
    assert sorted(moved) == sorted(labels) and (moved != labels).all()


def test_random_split_has_the_sizes_of_the_report(parts):
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [3024, 336, 840]


@pytest.mark.parametrize("method", ["random", "scaffold"])
def test_no_molecule_is_on_two_sides_and_none_is_lost(lipophilicity, method):
    parts = split(lipophilicity, method)
    tables = [parts.train, parts.validation, parts.test]
    assert sorted(np.concatenate([t.index for t in tables])) == list(range(4200))
    keys = [{canonicalise(s) for s in t["smiles"]} for t in tables]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])


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


def test_scaffold_split_keeps_scaffolds_on_one_side(lipophilicity):
    parts = split(lipophilicity, "scaffold")
    sides = [{scaffold(s) for s in t["smiles"]} for t in (parts.train, parts.validation, parts.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert len(parts.test) == pytest.approx(840, abs=20) and len(parts.validation) == pytest.approx(336, abs=20)


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
