"""Loaders that refuse what they cannot use with line and remedy, and show what is odd once."""

import csv
import io
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from molft_utils import DataError, load_lipophilicity, load_logp, load_secondary, overlap, split
from molft_utils.data.loaders import read_table
from molft_utils.errors import DataWarning, MolftError


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
    "a missing SMILES": (GOOD + ",2.0\n", "line 3 has no SMILES; fill it in or delete the line"),
    "a blank line": (GOOD + "\nCC,1\n", "line 3 has no SMILES"),
    "a SMILES of blanks": (GOOD + "   ,2.0\n", "line 3 has no SMILES"),
    "an open ring": (GOOD + "C1CC,2.0\n", r"line 3 has a SMILES that RDKit cannot read; correct it .*'C1CC'"),
    "an open bracket": (GOOD + "CC(C,2.0\n", "line 3 has a SMILES that RDKit cannot read"),
    "a valence of five": (GOOD + "CC(C)(C)(C)C,2.0\n", "line 3 has a SMILES that RDKit cannot read"),
    "an aromatic five-ring without hydrogen": (GOOD + "c1cccn1,2.0\n", "line 3 has a SMILES that RDKit cannot read"),
    "a name in place of a SMILES": (GOOD + "aspirin,2.0\n", "line 3 has a SMILES that RDKit cannot read"),
    "a missing label": (GOOD + "CC,\n", "line 3 has a label that is missing or not a finite number; give one in logD"),
    "a label in words": (GOOD + "CC,high\n", "line 3 has a label .*'high'"),
    "a label NA": (GOOD + "CC,NA\n", "line 3 has a label .*'NA'"),
    "a label nan": (GOOD + "CC,nan\n", "line 3 has a label"),
    "an infinite label": (GOOD + "CC,inf\n", "line 3 has a label .*'inf'"),
    "a decimal comma": (GOOD + 'CC,"1,5"\n', "line 3 has a label .*'1,5'"),
    "hydrogens without brackets": (GOOD + "[H]O[H],1\nHCl,1\n", "line 4 has a SMILES that RDKit cannot read"),
    "a symbol outside the vocabulary": (
        GOOD + "[Re]$[Re],1.0\n",
        "line 3 has a SMILES with .* that the tokeniser does not know",
    ),
    "a ring number of three digits": (GOOD + "C%(100)CCC%(100),1.0\n", "line 3 has a SMILES with characters"),
    "two other columns of one name": ("smiles,label,a,a\nCCO,1,2,3\n", "more than one column 'a'; give each column"),
    "a field too many": (
        GOOD + "CC,1.0,2\n",
        "line 3 has more or fewer fields than the header, which has 2; give every",
    ),
    "a field too many everywhere": (
        "smiles,label\nCCO,1,2\nCC,1,2\n",
        "lines 2 and 3 have more or fewer fields than the header, which has 2",
    ),
    "a field too few": ("smiles,label,id\nCCO,1,a\nCC,1.0\n", "line 3 has more or fewer fields than the header"),
    "an unquoted decimal comma": (GOOD + "CC,1,5\n", "line 3 has more or fewer fields .* double quotes"),
    "a fault after a field of two lines": (
        'label,id,smiles\n1.0,"two\nlines",CCO\nx,b,CC\n1,c\n',
        "line 5 has more or fewer fields",
    ),
    "a label after a field of two lines": (
        'label,id,smiles\n1.0,"two\nlines",CCO\nx,b,CC\n',
        "line 4 has a label that is missing .*'x'",
    ),
    "an open quote": (GOOD + 'CC,"1\n', "not a readable CSV .line 3: .*correct the line's quotes"),
    "text after a quote": (GOOD + 'CC,"1"5\n', "not a readable CSV .line 3: "),
    "a field of a megabyte": (GOOD + "C" * 1_000_000 + ",1\n", "not a readable CSV .line 3: field larger"),
    "a NUL byte": (GOOD + "C\0C,1\n", "not a readable CSV .it holds NUL bytes.; save it as UTF-8"),
    "an empty first line": ("\nsmiles,label\nCCO,1\n", "not a readable CSV .it has no header.; name the columns"),
    "several faults at once": (
        "smiles,label\nC1CC,1\nCC,x\n,3\n",
        "line 4 has no SMILES.*line 2 has a SMILES.*line 3 has a label",
    ),
    "many faulty lines": ("smiles,label\n" + "CC,x\n" * 12, "lines 2, 3, 4, 5, 6, 7, 8 and 5 more have a label"),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_tables_are_refused_with_line_and_remedy(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        load_text(tmp_path, text)
    assert "mine.csv" in str(error.value)


def test_a_file_of_other_bytes_a_folder_and_no_file_are_refused(tmp_path):
    (tmp_path / "latin.csv").write_bytes("smiles,label,name\nCCO,1,éthanol\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv is not a readable CSV .*; save it as UTF-8 text"):
        load_secondary(tmp_path / "latin.csv")
    (tmp_path / "utf16.csv").write_bytes("smiles,label\nCCO,1\n".encode("utf-16"))
    with pytest.raises(DataError, match="is not a readable CSV"):
        load_secondary(tmp_path / "utf16.csv")
    with pytest.raises(DataError, match="is not a readable CSV"):
        load_secondary(tmp_path)
    with pytest.raises(DataError, match="does not exist; `make data`"):
        load_secondary(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="'local' or 'hub'"):
        load_lipophilicity("web")


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_table(tmp_path):
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbfsmiles,label,\r\nCCO,1,\r\nCCN,2,a\r\n")
    table = load_secondary(tmp_path / "excel.csv")
    assert list(table.columns) == ["smiles", "label", "unnamed 3"]
    assert table["smiles"].tolist() == ["CCO", "CCN"] and table["label"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "header", ["SMILES,Label", "smiles,exp", "Canonical_SMILES,logD", " mol , y ", "Smiles,Lipophilicity"]
)
def test_usual_column_names_are_found(tmp_path, header):
    table = load_text(tmp_path, f"{header}\nCCO,-0.3\n")
    assert list(table.columns) == ["smiles", "label"] and table["label"][0] == -0.3


def test_other_columns_and_all_rows_are_kept(tmp_path):
    table = load_text(tmp_path, "id,label,smiles\na,1,CCO\nb,2,CCN\n")
    assert list(table.columns) == ["smiles", "label", "id"] and len(table) == 2


@pytest.mark.parametrize("written, read", [("TRUE,FALSE", [True, False]), ("True,no", None)])
def test_marks_of_wrong_labels_are_read_or_refused(tmp_path, written, read):
    first, second = written.split(",")
    (tmp_path / "x.csv").write_text(f"smiles,label,corrupted\nCCO,1.0,{first}\nCCN,2.0,{second}\n")
    if read is None:
        with pytest.raises(DataError, match="line 3: corrupted is 'no'; write True or False"):
            read_table(tmp_path / "x.csv")
    else:
        assert read_table(tmp_path / "x.csv")["corrupted"].tolist() == read


def shown(load) -> list[str]:
    """The texts of our warnings that a call shows to a reader whose filters are Python's own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()  # what catch_warnings and any change of filters do: Python forgets what it showed
        load()
    return [str(w.message) for w in caught if issubclass(w.category, DataWarning)]


def test_odd_rows_of_a_file_are_shown_once_and_stay_in_the_table(tmp_path):
    mine, other = tmp_path / "mine.csv", tmp_path / "other.csv"
    text = f"smiles,label\nCCO,1\nOCC,2\n{'C' * 130},3\n"
    mine.write_text(text)
    other.write_text(text)
    facts = [
        "line 4 has more than 128 tokens and will be cut",
        "lines 2 and 3 are the same molecule with different labels",
    ]
    assert shown(lambda: load_secondary(mine)) == [f"{mine}: {fact}" for fact in facts]
    assert shown(lambda: load_secondary(mine)) == []
    assert shown(lambda: load_secondary(other)) == [f"{other}: {fact}" for fact in facts]
    assert load_secondary(mine).attrs["warnings"] == facts
    mine.write_text(text + "CCN,1\nNCC,1\n")
    assert shown(lambda: load_secondary(mine)) == [f"{mine}: lines 5 and 6 are the same molecule with the same label"]


def test_a_warning_points_to_the_line_that_loads(tmp_path):
    (tmp_path / "mine.csv").write_text("smiles,label\nCCO,1\nOCC,1\n")
    with pytest.warns(DataWarning) as caught:
        load_secondary(tmp_path / "mine.csv")
    assert [w.filename for w in caught] == [__file__]


def test_many_odd_rows_are_counted_not_shown_one_by_one(tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text("smiles,label\n" + "".join(f"{'C' * i}O,1\nO{'C' * i},1\n" for i in range(1, 13)))
    texts = shown(lambda: load_secondary(mine))
    assert len(texts) == 6 and texts[-1].endswith("7 more facts stand in table.attrs['warnings']")
    assert len(load_secondary(mine).attrs["warnings"]) == 12


def test_known_facts_of_the_repositorys_own_files_are_not_shown():
    assert shown(load_lipophilicity) == shown(load_secondary) == []
    known = ["lines 1238, 1399 and 3594 have more than 128 tokens and will be cut"]
    assert load_lipophilicity().attrs["warnings"] == known


def test_secondary_set_is_as_its_card_says():
    secondary = load_secondary()
    assert len(secondary) == 300 and secondary["corrupted"].sum() == 100 and secondary["corrupted"].dtype == bool
    assert overlap(secondary, split(load_lipophilicity()), stereochemistry=False).empty
    places = np.flatnonzero(secondary["corrupted"])
    assert 100 < places.mean() < 200, "the corrupted rows are not in one place"
    pool = load_logp().set_index("smiles")
    drawn = pool.loc[secondary["smiles"]]
    assert (drawn["label"].to_numpy() == secondary["label"].to_numpy()).all()
    assert (drawn["ionisable"].to_numpy() == secondary["corrupted"].to_numpy()).all()


def test_logp_is_as_its_card_says():
    pool = load_logp()
    assert len(pool) == 2378 and pool["ionisable"].sum() == 606 and not pool.attrs["warnings"]
    assert overlap(pool, split(load_lipophilicity()), stereochemistry=False).empty
    assert pool["label"].between(-1.5, 4.5).all() and pool["cas"].is_unique
    assert (pool["ionisable"] == (pool["groups"] != "")).all()


# -- any text at all ------------------------------------------------------------------------------------------------

FIELDS = st.one_of(
    st.sampled_from(
        ["CCO", "OCC", "c1ccccc1", "C1CC", "[Na+].[Cl-]", "1.5", "-2", "nan", "", " ", '"', "True", "C" * 130]
    ),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{0,3})?([eE][-+]?[0-9]{1,4})?", fullmatch=True),
    st.text(alphabet="CNOcnos[]()=#$:/\\@+-.%0123456789BrlH*~>|{} ", max_size=12),
    st.text(max_size=6),
)
HEADERS = st.sampled_from(["smiles,label", "label,smiles,id", "smiles,label,corrupted", "SMILES,exp", "smiles,label,,"])
LINES = st.lists(FIELDS, min_size=1, max_size=4).map(",".join)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.builds(
        lambda header, lines, end: end.join([header, *lines]) + end,
        HEADERS,
        st.lists(LINES, max_size=4),
        st.sampled_from(["\n", "\r\n", "\r"]),
    ),
    st.lists(
        st.tuples(st.sampled_from(["CCO", "OCC", "CCN"]), st.sampled_from(["1", "2.5", '"3"'])), min_size=1, max_size=6
    ).map(lambda rows: "smiles,label\n" + "\n".join(map(",".join, rows))),
)


@pytest.fixture(scope="module")
def any_file(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "any.csv"


def loaded(path, content: bytes) -> pd.DataFrame | None:
    """The table, or None where it is refused; any warning or exception that is not the package's own is let through."""
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DataWarning)
        try:
            return load_secondary(path)
        except MolftError as error:
            assert "any.csv" in str(error)
            return None


@settings(deadline=None, derandomize=True, max_examples=150)
@given(TEXTS)
@example("smiles,label\n[999999999999C],1\n")
@example("smiles,label\n" + "(" * 5_000 + ",1\n")
@example("smiles,label\nC" + "(C" * 3_000 + ")" * 3_000 + ",1\n")
@example("smiles,label\nCCO," + "9" * 400 + "\n")
@example("smiles,label\n<mask>,1\n")
@example("smiles,label\nCCO |$a$|,1\n")
@example("smiles,label\nCCO,1\n\n")
def test_any_text_is_a_table_with_all_its_rows_or_an_error_of_ours(any_file, text):
    table = loaded(any_file, text.encode("utf-8"))
    if table is not None:
        records = list(csv.reader(io.StringIO(text, newline="")))
        assert len(table) == len(records) - 1
        assert np.isfinite(table["label"]).all() and (table["smiles"] != "").all()


@settings(deadline=None, derandomize=True, max_examples=75)
@given(st.one_of(st.binary(max_size=40), st.binary(max_size=12).map(lambda tail: b"smiles,label\nCCO,1\n" + tail)))
def test_any_bytes_are_a_table_or_an_error_of_ours(any_file, content):
    table = loaded(any_file, content)
    assert table is None or len(table) >= 1
