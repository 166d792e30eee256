"""Malformed tables: each is read with every row accounted for, or refused with the file, the line and the remedy."""

import os
import re
import warnings

import pytest
from malformed import ROWS, Case, cases

from molft_utils import DataError, load_table, settings
from molft_utils.errors import DataWarning
from molft_utils.experiments import pipeline

#: What a message tells the reader to do.
REMEDY = re.compile(r"\b(save|give|correct|name|write|add|delete|put|fill|choose|it has)\b")


def fault_of(path, case: Case) -> str | None:
    """What is wrong with how the package meets a table; None if nothing is."""
    try:
        table = load_table(path)
    except DataError as error:
        return fault_of_message(str(error), path.name, case)
    except Exception as error:
        return f"a foreign {type(error).__name__}: {str(error)[:200]}"
    if len(table) != case.rows:
        return f"{len(table)} rows of {case.rows}"
    return None if all(cell == cell and str(cell) for cell in table["smiles"]) else "a SMILES is missing"


def fault_of_message(message: str, name: str, case: Case) -> str | None:
    if name not in message or not REMEDY.search(message):
        return f"names no file or no remedy: {message[:200]}"
    if case.line is not None and not re.search(rf"\blines? (\d+, )*{case.line}\b", message):
        return f"does not name line {case.line}: {message[:200]}"
    return f"a message of {len(message):,} characters" if len(message) > 2_500 else None


def test_two_hundred_malformed_tables_are_read_whole_or_refused_with_line_and_remedy(tmp_path):
    path, found = tmp_path / "mine.csv", {}
    for name, case in cases().items():
        path.write_bytes(case.content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DataWarning)
            found[name] = fault_of(path, case)
    assert len(found) >= 200
    assert not {name: fault for name, fault in found.items() if fault}


READ = (
    "encodings: utf-8-sig, accents", "encodings: utf-8, names", "line_ends: lines end in '\\r'",
    "line_ends: mixed ends", "quoting: all in quotes", "quoting: a line break in another column",
    "ragged: a comma at every line's end", "columns: the header 'Smiles ,LABEL'",
    "huge: 1,000 columns", "huge: a label of 5,000 decimals",
)  # fmt: skip


def test_what_is_well_formed_but_unusual_is_read(tmp_path):
    """The other half of the rule above: refusing everything would pass it."""
    path, read = tmp_path / "mine.csv", []
    for name in READ:
        path.write_bytes(cases()[name].content)
        read.append(len(load_table(path)))
    assert read == [3, 3, 3, 3, 3, 3, 3, 3, 1, 3]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_named(tmp_path, separator):
    (tmp_path / "mine.csv").write_text(f"smiles{separator}label\nCCO{separator}1,5\n")
    with pytest.raises(DataError, match=r"fields seem to be separated by .*; save it with commas"):
        load_table(tmp_path / "mine.csv")


def test_a_target_that_stands_twice_is_named_as_it_is_written(tmp_path):
    (tmp_path / "mine.csv").write_text("smiles,pKa,pKa\nCCO,1,2\n")
    with pytest.raises(DataError, match="more than one column 'pKa'; give each"):
        load_table(tmp_path / "mine.csv", "pKa")
    (tmp_path / "mine.csv").write_text("smiles,pKa,exp\nCCO,1,2\n")
    with pytest.raises(DataError, match=r"no column 'logS'; it has smiles, pKa, exp"):
        load_table(tmp_path / "mine.csv", "logS")


# -- paths ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def odd_paths(tmp_path):
    """Paths that lead to no regular file; opening some of them would wait or read for ever."""
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    made = [
        "folder.csv",
        "dangling.csv",
        "loop.csv",
        "pipe.csv",
        "nowhere.csv",
        "a\0b.csv",
        "x" * 300,
        "../..",
        "~",
        "*",
    ]
    urls = ["https://example.org/table.csv", "file:///etc/hostname", "s3://bucket/table.csv", "data:,smiles"]
    return [*(tmp_path / name for name in made), "", ".", "/", "-", "/dev/null", "/dev/zero", *urls]


def test_a_path_that_leads_to_no_file_is_refused(odd_paths):
    for path in odd_paths:
        with pytest.raises(DataError, match=r"does not exist|is not a file|not a readable CSV"):
            load_table(path)


def test_a_table_in_the_settings_that_is_no_file_is_refused(odd_paths):
    for path in odd_paths:
        if path != "":  # an empty name is none
            with pytest.raises(DataError):
                pipeline.baseline(settings("smoke", table=path))


def test_names_of_files_are_taken_as_they_are(tmp_path):
    for name in ("$HOME.csv", "a b.csv", "ä.csv", "-rf.csv", "%s.csv", "new\nline.csv", "mine.CSV", "none", ".hidden"):
        (tmp_path / name).write_bytes(cases()["encodings: utf-8, plain"].content)
        assert len(load_table(tmp_path / name)) == len(ROWS)
