"""Any file at all is read with every row, or refused by an error of ours. ``MOLFT_FUZZ`` is the number of examples."""

import csv
import io
import os
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from molft_utils import load_table
from molft_utils.data.tables import _separator
from molft_utils.errors import DataWarning, MolftError

#: What stands in cells: good values, what spreadsheets and other programs leave, and what is no SMILES or number.
VALUES = [
    "CCO", "OCC", "c1ccccc1", "C1CC", "[Na+].[Cl-]", "HCl", "aspirin", "<mask>", "CCO |$a$|", "C%(100)CC%(100)",
    "[Re]$[Re]", "F[Pd](Cl)(Cl1)Cl[Pd]1(Cl)Cl", "[999999999999C]", "C\u200b", "\uff23", "../x", "=1+1", "#DIV/0!",
    "1,5", "1.234,5", "<5", "½", "١", "1e400", "nan", "-Infinity", "NA", "0x10", "1_000", "1.5", "-2", "", " ", '"',
    '"1"', "C\nC", "True", "0", "\x1b[31m", "🧪", "C" * 130, "(" * 5_000, "C" * 30_000, "9" * 400,
]  # fmt: skip
FIELDS = st.one_of(
    st.sampled_from(VALUES),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{0,3})?([eE][-+]?[0-9]{1,4})?", fullmatch=True),
    st.text(alphabet="CNOcnos[]()=#$:/\\@+-.%0123456789BrlH*~>|{} ", max_size=12),
    st.text(max_size=6),
)
HEADERS = [
    "smiles label", "label smiles id", "smiles label corrupted", "SMILES exp", "smiles label  ", "smiles smiles", "a b",
    "smiles label label", "smiles other\u00a0label exp", "CCO 1.5",
]  # fmt: skip
CODINGS = ["utf-8"] * 6 + ["utf-8-sig", "utf-16", "latin-1", "cp1252", "shift_jis"]


@st.composite
def files(draw) -> bytes:
    """A table with a header, separator, quotes, line ends and an encoding; its rows may be faulty in any cell."""
    separator, end, quote = (
        draw(st.sampled_from(list(options))) for options in (",,;\t|: ", ("\n", "\r\n", "\r"), ("", '"'))
    )
    rows = draw(st.lists(st.lists(FIELDS, min_size=1, max_size=4), max_size=5))
    rows += [["CCO", "1"], ["CCN", "2"]] if draw(st.booleans()) else []
    lines = [draw(st.sampled_from(HEADERS)).split(" "), *rows]
    text = end.join(separator.join(f"{quote}{field}{quote}" for field in line) for line in lines)
    return (text + draw(st.sampled_from(["", end, end * 2]))).encode(draw(st.sampled_from(CODINGS)), "replace")


CONTENTS = st.one_of(
    files(), st.binary(max_size=40), st.binary(max_size=12).map(lambda tail: b"smiles,label\nCCO,1\n" + tail)
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "any.csv"


@settings(
    deadline=None, derandomize="MOLFT_FUZZ" not in os.environ, max_examples=int(os.environ.get("MOLFT_FUZZ", 150))
)
@given(CONTENTS)
@example(b"smiles,label\n" + b"(" * 5_000 + b",1\n")
@example(b"smiles,label\nC" + b"(C" * 3_000 + b")" * 3_000 + b",1\n")
@example(b"smiles,label\n[999999999999C],1\n")
@example(b"smiles,label\nC" + b",1" * 5_000 + b"\n")
@example(b"smiles,label" + b",a" * 5_000 + b"\nC,1" + b",0" * 5_000 + b"\n")
@example(b"C" * 200_000)
@example(b"\xef\xbb\xbf\xef\xbb\xbfsmiles,label\nCCO,1\n")
def test_any_file_is_read_with_all_its_rows_or_refused(path, content):
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DataWarning)
        try:
            table = load_table(path)
        except MolftError as error:
            assert "any.csv" in str(error) and len(str(error)) < 2_500
            return
    text = content.decode("utf-8-sig")
    records = list(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text)))
    assert len(table) == len(records) - 1
    assert np.isfinite(table["label"]).all() and (table["smiles"] != "").all()
