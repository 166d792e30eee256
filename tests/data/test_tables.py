"""Tables: read whatever the separator, refused with line and remedy, and odd rows shown once."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from molft_utils import (
    DataError,
    load_logp,
    load_secondary,
    load_table,
    overlap,
    split,
    token_lengths,
)
from molft_utils.data import canonicalise, check_table, flat_key
from molft_utils.errors import DataWarning


@pytest.fixture
def load(tmp_path):
    """Write a text as ``mine.csv`` and load it."""

    def from_text(text: str, target: str | None = None) -> pd.DataFrame:
        (tmp_path / "mine.csv").write_bytes(text.encode("utf-8"))
        return load_table(tmp_path / "mine.csv", target)

    return from_text


# -- what is refused ------------------------------------------------------------------------------------------------

GOOD = "smiles,label\nCCO,1.0\n"
MALFORMED = {
    "an empty file": ("", r"not a readable CSV \(it has no header\); save it as UTF-8"),
    "a header alone": ("smiles,label\n", "header and no rows; add a line"),
    "no SMILES column": ("name,label\nethanol,1.0\n", "no SMILES column among name, label; name exactly one column"),
    "two label columns": ("smiles,label,exp\nCCO,1,2\n", r"several label columns \(label, exp\)"),
    "two columns of one name": ("smiles,label,a,a\nCCO,1,2,3\n", "more than one column 'a'; give each column"),
    "fields separated by colons": ("smiles:label\nCCO:1\n", "among smiles:label; .* by commas, semicolons or tabs"),
    "a blank line": (GOOD + "\nCC,1\n", "line 3 has no SMILES; fill it in or delete the line"),
    "an open ring": (GOOD + "C1CC,2.0\n", r"line 3 has a SMILES that RDKit cannot read; correct it .*'C1CC'"),
    "a missing label": (GOOD + "CC,NA\n", "line 3 has a label that is missing or not a finite number; give .*'NA'"),
    "an infinite label": (GOOD + "CC,inf\n", "line 3 has a label .*'inf'"),
    "a decimal comma": ("smiles;label\nCCO;1.0\nCC;1,5\n", "line 3 has a label with a decimal comma; .*'1,5'"),
    "an unquoted decimal comma": (GOOD + "CC,1,5\n", "line 3 has more or fewer fields .* double quotes"),
    "a symbol outside the vocabulary": (GOOD + "[Re]$[Re],1.0\n", r"line 3 has a SMILES with .* not know.*first: '\$'"),
    "a fault after a field of two lines": (
        'label,id,smiles\n1.0,"two\nlines",CCO\nx,b,CC\n', "line 4 has a label that is missing .*'x'"
    ),
    "an open quote": (GOOD + 'CC,"1\n', "not a readable CSV .line 3: .*correct the line's quotes"),
    "a field of a megabyte": (GOOD + "C" * 1_000_000 + ",1\n", "not a readable CSV .line 3: field larger"),
    "several faults at once": (
        "smiles,label\nC1CC,1\nCC,x\n,3\n", "line 4 has no SMILES.*line 2 has a SMILES.*line 3 has a label"
    ),
    "many faulty lines": ("smiles,label\n" + "CC,x\n" * 12, "lines 2, 3, 4, 5, 6, 7, 8 and 5 more have a label"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_tables_are_refused_with_line_and_remedy(load, text, message):
    with pytest.raises(DataError, match=message) as error:
        load(text)
    assert "mine.csv" in str(error.value)


def test_a_target_is_found_or_named(load):
    table = load("smiles,label,logS / mol per l\nCCO,a,1\nCC,b,2\n", "logS / mol per l")
    assert list(table.columns) == ["smiles", "label", "other label"] and table["label"].tolist() == [1.0, 2.0]
    with pytest.raises(DataError, match=r"no column 'logS'; it has smiles, pKa"):
        load("smiles,pKa\nCCO,1\n", "logS")
    with pytest.raises(DataError, match="no SMILES column among pKa"):
        load("smiles,pKa\nCCO,1\n", "smiles")


def test_the_row_numbers_of_the_given_frame_play_no_part():
    frame = pd.DataFrame({"smiles": ["CCO", "CCN"], "label": [1.0, np.nan]}, index=[70, 7])
    with pytest.raises(DataError, match="table: line 3 has a label that is missing"):
        check_table(frame)
    assert check_table(frame.fillna(2.0)).index.tolist() == [0, 1]


# -- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_the_separator_is_found(load, separator, quote):
    """ChEMBL's export separates by semicolons, puts all fields in quotes, and has commas in its names."""
    rows = [["ChEMBL ID", "Formula, neutral", "Smiles", "logD"], ["CHEMBL1", "C, H", "CCO", "-1.5"]]
    rows[0][1] = rows[0][1] if quote or separator != "," else "Formula"
    rows[1][1] = rows[1][1] if quote or separator != "," else "C2H6O"
    table = load("\r\n".join(separator.join(f"{quote}{field}{quote}" for field in row) for row in rows))
    assert table[["smiles", "label"]].to_numpy().tolist() == [["CCO", -1.5]]
    assert table.shape == (1, 4) and table.attrs["target"] == "logD"


@pytest.mark.parametrize("header", ["SMILES,Label", "Canonical_SMILES,logD", " mol , y "])
def test_usual_column_names_are_found_and_the_targets_name_is_kept(load, header):
    table = load(f"{header}\nCCO,-0.3\n")
    assert list(table.columns) == ["smiles", "label"] and table["label"][0] == -0.3
    assert table.attrs["target"] == header.split(",")[1].strip()


def test_a_spreadsheets_file_is_read_with_all_columns_and_rows(load):
    table = load("\ufefflabel,smiles,name,\r\n1, CCO ,éthanol,\r\n2e-1,CCN,,a\r\n")
    assert list(table.columns) == ["smiles", "label", "name", "unnamed 4"]
    assert table["smiles"].tolist() == ["CCO", "CCN"] and table["label"].tolist() == [1.0, 0.2]
    assert table["name"].tolist() == ["éthanol", ""]


@pytest.mark.parametrize(
    ("words", "read"), [(["TRUE", "False"], [True, False]), (["1", "0"], [True, False]), (["no", "1"], ["no", "1"])]
)
@pytest.mark.parametrize("name", ["corrupted", "ionisable"])
def test_flags_that_nobody_reads_are_no_reason_to_refuse_a_table(load, name, words, read):
    assert load(f"smiles,label,{name}\nCCO,1.0,{words[0]}\nCCN,2.0,{words[1]}\n")[name].tolist() == read


# -- paths ----------------------------------------------------------------------------------------------------------


def test_a_path_is_taken_from_the_home_or_from_the_folder_of_the_moment(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "first"))
    for folder, label in (("first", 1), ("second", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.csv").write_text(f"smiles,label\nCCO,{label}\n")
        monkeypatch.chdir(tmp_path / folder)
        assert load_table("mine.csv")["label"].tolist() == load_table(Path("mine.csv"))["label"].tolist() == [label]
    assert load_table("~/mine.csv")["label"].tolist() == [1.0]
    for path, folder in (("my.csv", "second"), ("~/my.csv", "first"), ("a/my.csv", "second/a")):
        with pytest.raises(DataError, match=f"my.csv does not exist in the folder {tmp_path / folder}; put it there"):
            load_table(path)


def test_a_path_that_leads_to_no_text_is_refused(tmp_path):
    (tmp_path / "latin.csv").write_bytes("smiles,label,name\nCCO,1,éthanol\n".encode("latin-1"))
    (tmp_path / "utf16.csv").write_bytes("smiles,label\nCCO,1\n".encode("utf-16"))
    names = (tmp_path, tmp_path / "latin.csv", tmp_path / "utf16.csv", "a\0b.csv", "x" * 300, "", "~nobody/x.csv")
    for path in (*names, "https://example.org/x.csv"):
        with pytest.raises(DataError, match=r"does not exist in the folder|is not a readable CSV .*; save it as UTF-8"):
            load_table(path)


# -- what is odd ----------------------------------------------------------------------------------------------------


def shown(load) -> list[str]:
    """The texts of our warnings that a call shows to a reader whose filters are Python's own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()  # what catch_warnings and any change of filters do: Python forgets what it showed
        load()
    ours = [w for w in caught if issubclass(w.category, DataWarning)]
    assert all(w.filename == __file__ for w in ours), "a warning points to the line that loads"
    return [str(w.message) for w in ours]


def test_odd_rows_of_a_file_are_shown_once_and_stay_in_the_table(tmp_path):
    mine = tmp_path / "mine.csv"
    text = f"smiles,label\nCCO,1\nOCC,2\n{'C' * 130},3\n"
    mine.write_text(text)
    facts = [
        "line 4 has more than 128 tokens and will be cut",
        "lines 2 and 3 are the same molecule with different labels; a random split may part them",
    ]
    assert shown(lambda: load_table(mine)) == [f"{mine}: {fact}" for fact in facts]
    assert shown(lambda: load_secondary(mine)) == []
    assert load_secondary(mine).attrs["warnings"] == facts
    mine.write_text(text + "CCN,1\nNCC,1\n")
    assert shown(lambda: load_secondary(mine)) == [
        f"{mine}: lines 5 and 6 are the same molecule with the same label; a random split may part them"
    ]
    mine.write_text("smiles,label\n" + "".join(f"{'C' * i}O,1\nO{'C' * i},1\n" for i in range(1, 13)))
    texts = shown(lambda: load_table(mine))
    assert len(texts) == 6 and "7 more facts" in texts[-1], "many are counted, not shown one by one"
    assert len(load_table(mine).attrs["warnings"]) == 12


# -- the repository's own tables ------------------------------------------------------------------------------------


def test_lipophilicity_is_the_whole_set(lipophilicity):
    assert len(lipophilicity) == 4200 and lipophilicity.attrs["target"] == "logD"
    assert lipophilicity["label"].mean() == pytest.approx(2.186, abs=5e-4)
    assert lipophilicity["label"].std() == pytest.approx(1.203, abs=5e-4)
    assert lipophilicity["chembl_id"].is_unique
    canonical = [canonicalise(s) for s in lipophilicity["smiles"]]
    assert sum(a == b for a, b in zip(canonical, lipophilicity["smiles"], strict=True)) == 354
    assert 4200 - len({flat_key(s) for s in lipophilicity["smiles"]}) == 98
    known = ["lines 1238, 1399 and 3594 have more than 128 tokens and will be cut"]
    assert lipophilicity.attrs["warnings"] == known and token_lengths(lipophilicity["smiles"]).max() == 207


def test_mirror_images_have_nearly_the_same_label(lipophilicity):
    """Both forms have one logD, so the labels of a pair are two measurements of it; the data card has these figures."""
    label = dict(zip(map(canonicalise, lipophilicity["smiles"]), lipophilicity["label"], strict=True))
    mirrored = {s: canonicalise(s.replace("@@", "!").replace("@", "@@").replace("!", "@")) for s in label if "@" in s}
    gaps = np.array([abs(label[s] - label[m]) for s, m in mirrored.items() if s < m and m in label])
    assert len(gaps) == 44 and np.median(gaps) < 0.06 and gaps.max() == pytest.approx(1.55)
    assert np.sqrt((gaps**2).mean() / 2) == pytest.approx(0.193, abs=1e-3)


def test_secondary_set_and_logp_are_as_their_cards_say(parts):
    secondary, pool = load_secondary(), load_logp()
    assert secondary.attrs["target"] == pool.attrs["target"] == "logP"
    assert shown(load_secondary) == pool.attrs["warnings"] == []
    assert len(secondary) == 300 and secondary["corrupted"].sum() == 100 and secondary["corrupted"].dtype == bool
    places = np.flatnonzero(secondary["corrupted"])
    assert 100 < places.mean() < 200, "the corrupted rows are not in one place"
    drawn = pool.set_index("smiles").loc[secondary["smiles"]]
    assert (drawn["label"].to_numpy() == secondary["label"].to_numpy()).all()
    assert (drawn["ionisable"].to_numpy() == secondary["corrupted"].to_numpy()).all()
    assert len(pool) == 2378 and pool["ionisable"].sum() == 606
    assert pool["label"].between(-1.5, 4.5).all() and pool["cas"].is_unique
    assert (pool["ionisable"] == (pool["groups"] != "")).all()
    assert overlap(pool, parts, stereochemistry=False).empty, "nor is any of the secondary set, drawn from the pool"


def test_the_target_goes_with_every_part_of_a_split(load):
    rows = "".join(f"{'C' * i}O,{i}\n" for i in range(1, 30))
    parts = split(load(f"smiles,pIC50\n{rows}", "pIC50"))
    for part in (parts.train, parts.validation, parts.test, parts.test.head(2).copy()):
        assert part.attrs == {"target": "pIC50"}
