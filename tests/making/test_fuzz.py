"""The fuzz: a few strings of it, and that each of its counters notices a fault."""

import pandas as pd
import pytest

from molft_utils import DataError
from molft_utils.evaluation import records
from molft_utils.making import fuzz


@pytest.fixture
def path(tmp_path):
    return tmp_path / "any.csv"


@pytest.fixture
def strings(monkeypatch):
    monkeypatch.setattr(fuzz, "load_lipophilicity", lambda: pd.DataFrame({"smiles": ["CCO", "c1ccccc1", "C[C@H](N)O"]}))


def test_a_few_strings_are_met_as_they_should_be(strings, path):
    counts = fuzz.fuzz(600, 0, path)
    assert counts["strings"] == 600 and counts["read"] > 100 and counts["refused"] > 100
    assert not any(counts[name] for name in fuzz.WRONG)


@pytest.mark.parametrize(
    ("name", "broken", "counter"),
    [
        ("load_table", lambda path: 1 / 0, "foreign"),
        ("load_table", lambda path: pd.DataFrame({"smiles": ["C"]}), "rows_lost"),
        ("load_table", lambda path: fuzz_refuses(), "rows_not_named"),
        ("unknown_parts", lambda texts: [[]] * len(texts), "not_given_back"),
    ],
)
def test_each_counter_notices_its_fault(strings, path, monkeypatch, capsys, name, broken, counter):
    monkeypatch.setattr(fuzz, name, broken)
    assert fuzz.fuzz(100, 0, path)[counter] > 0


def fuzz_refuses():
    raise DataError("no line is named")


def test_the_line_of_each_row_is_known_whatever_it_holds(path):
    assert fuzz.written(path, ["C", "a\nb", "\r\n", "C"]) == [2, 3, 5, 7]


def test_the_counts_go_on_record(strings, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["fuzz", "--strings", "50"])
    fuzz.main()
    row = records.read("fuzz").iloc[0]
    assert row["strings"] == 50 and row["read"] + row["refused"] <= 50 and row["foreign"] == row["rows_lost"] == 0
