"""Reading tables: the repository's own, the hub's, and any CSV.

What is odd about a table stands in ``table.attrs["warnings"]``. For a file that is not the repository's own it is also
shown as a :class:`~molft_utils.errors.DataWarning`, once for each file and fact.
"""

import csv
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError, DataWarning
from ..files import DATA_FOLDER, data_file
from .molecules import shortened
from .tables import LABEL_NAMES, check_table, lines_have, listed, named

HUB_DATASET = "scikit-fingerprints/MoleculeNet_Lipophilicity"

#: Facts that ``data/README.md`` tells about the repository's own files: no warning repeats them.
KNOWN_FACTS = {
    "lipophilicity.csv": ("lines 1238, 1399 and 3594 have more than 128 tokens and will be cut",),
}

#: More facts about one file than these are counted, not shown one by one.
MOST_WARNINGS = 5


def load_lipophilicity(source: str = "local") -> pd.DataFrame:
    """Load the 4,200 molecules of MoleculeNet Lipophilicity, checked.

    Parameters
    ----------
    source : {"local", "hub"}
        The repository's copy, or the hub's data set ``scikit-fingerprints/MoleculeNet_Lipophilicity`` through
        ``datasets`` (untested where the hub cannot be reached).

    Returns
    -------
    DataFrame
        ``smiles``, ``label`` (logD), and from the local copy ``chembl_id``.

    Raises
    ------
    DataError
        If the file is missing, the hub cannot be reached, or a row cannot be used.
    """
    if source == "local":
        table = read_table(data_file("lipophilicity.csv"))
        _warn(table, data_file("lipophilicity.csv"))
        return table
    if source != "hub":
        raise DataError(f"unknown source {source!r}; choose 'local' or 'hub'")
    import datasets  # only here: it takes seconds to import

    try:
        raw = datasets.load_dataset(HUB_DATASET, split="train").to_pandas()
    except Exception as error:  # of datasets, of its downloader, of the network
        raise DataError(
            f"{HUB_DATASET} cannot be loaded from the hub ({type(error).__name__}: {error}); check the network, or "
            "call load_lipophilicity() for the repository's copy"
        ) from error
    return check_table(raw, HUB_DATASET)


def load_secondary(path: str | Path | None = None) -> pd.DataFrame:
    """Load the secondary set, or any CSV with SMILES and label columns under their usual names, checked.

    The repository's own set has measured logP values for labels, which are logD values only where a molecule carries no
    charge. A third column, ``corrupted``, is True where it is ionisable. It is there to grade selection methods; models
    read ``smiles`` and ``label`` alone.

    Raises
    ------
    DataError
        If the file is missing, is no CSV, its columns are not found, or a row cannot be used.

    Warns
    -----
    DataWarning
        If molecules are equal, or have more than 128 tokens.
    """
    path = data_file("secondary.csv") if path is None else Path(path)
    table = read_table(path)
    _warn(table, path)
    return table


def load_table(path: str | Path, target: str | None = None) -> pd.DataFrame:
    """Load a table of one's own, checked: SMILES, and a column to be predicted.

    Parameters
    ----------
    path
        A CSV in UTF-8 with a header line.
    target
        The name of the column to be predicted; None finds it by its usual names.

    Returns
    -------
    DataFrame
        ``smiles``, ``label``, and the other columns as they stand.

    Raises
    ------
    DataError
        As :func:`load_secondary`, and if there is no column ``target``.

    Warns
    -----
    DataWarning
        As :func:`load_secondary`.
    """
    table = read_table(Path(path), target)
    _warn(table, Path(path))
    return table


def load_logp() -> pd.DataFrame:
    """Load the measured logP values of molecules that are not in Lipophilicity, checked.

    Returns
    -------
    DataFrame
        ``smiles``, ``label`` (logP), ``cas``, ``name``, ``groups`` (those that make the molecule ionisable),
        ``ionisable`` (bool), ``source``.

    Raises
    ------
    DataError
        If the file is missing or a row cannot be used.
    """
    return read_table(data_file("logp.csv"))


def read_table(path: Path, target: str | None = None) -> pd.DataFrame:
    """Read and check a CSV (UTF-8, commas, a header line); ``target`` names the label; see :func:`check_table`."""
    header, rows, lines = _records(_text(path), path.name)
    _require_separate(header, path.name)
    if target is not None:
        header = _with_label(header, target, path.name)
        _require_separate(header, path.name)  # a column may have had one of the new names
    uneven = [line for row, line in zip(rows, lines, strict=True) if len(row) != len(header)]
    if uneven:
        raise DataError(
            f"{path.name}: {lines_have(uneven)} more or fewer fields than the header, which has {len(header)}; "
            "give every line as many, and put a field that holds a comma in double quotes"
        )
    table = check_table(pd.DataFrame(rows, columns=header), path.name, lines)
    for name in ("corrupted", "ionisable"):
        if name in table:
            table[name] = _booleans(table[name], path.name, lines)
    return table


def _require_separate(header: list[str], source: str) -> None:
    """Refuse a header whose columns are separated by something else than commas, or have the same name."""
    for separator in ";\t|":
        if len(header) == 1 and separator in header[0]:
            raise DataError(f"{source}: its fields seem to be separated by {separator!r}; save it with commas")
    for column, count in Counter(header).items():
        if count > 1:
            raise DataError(
                f"{source} has more than one column {shortened(column)}; give each column a name of its own"
            )


def _text(path: Path) -> str:
    """The file's text; the mark of byte order that spreadsheets put in front is taken off."""
    try:
        if path.exists() and not path.is_file():  # a folder; a pipe or a device would be read for ever
            raise OSError("it is no regular file")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; `make data` makes the repository's tables") from error
    except (OSError, ValueError) as error:  # a folder, a file of somebody else's, another encoding
        raise DataError(f"{path} is not a readable CSV ({error}); save it as UTF-8 text with a header line") from error
    if "\0" in text:
        raise DataError(f"{path} is not a readable CSV (it holds NUL bytes); save it as UTF-8 text with a header line")
    return text


def _records(text: str, source: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and the line on which each row begins: a quoted field may hold line breaks.

    Everything stays text, so that "NA" or an empty field is reported as it stands and not turned into a number.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records, begins = [], [1]
    try:
        for record in reader:
            records.append(record)
            begins.append(reader.line_num + 1)
    except csv.Error as error:
        raise DataError(
            f"{source} is not a readable CSV (line {begins[-1]}: {error}); correct the line's quotes and commas"
        ) from error
    if not records or not any(records[0]):
        raise DataError(
            f"{source} is not a readable CSV (it has no header); name the columns in the first line: smiles,label"
        )
    header = [name or f"unnamed {number}" for number, name in enumerate(records[0], start=1)]
    rows = [record or [""] * len(header) for record in records[1:]]  # the reader gives a blank line no field at all
    return header, rows, begins[1:-1]


def _with_label(header: list[str], target: str, source: str) -> list[str]:
    """The header with the target's column as ``label``, and another ``label`` out of its way."""
    if target not in header:
        raise DataError(f"{source} has no column {target!r}; it has {listed(header)}")
    usual = [name.strip().lower() in LABEL_NAMES for name in header]
    return [
        "label" if name == target else f"other {name}" if clash else name
        for name, clash in zip(header, usual, strict=True)
    ]


def _booleans(column: pd.Series, source: str, lines: Sequence[int]) -> pd.Series:
    known = column.str.lower().map({"true": True, "false": False})
    unknown = np.flatnonzero(known.isna()).tolist()
    if len(unknown):
        where = named(lines[row] for row in unknown)
        raise DataError(
            f"{source}, {where}: {column.name} is {shortened(column.iloc[unknown[0]])}; write True or False"
        )
    return known.astype(bool)


def _warn(table: pd.DataFrame, path: Path) -> None:
    """Show what is odd about the table, but for the facts that the repository's card tells."""
    is_own = path.resolve().parent == DATA_FOLDER.resolve()
    known = KNOWN_FACTS.get(path.name, ()) if is_own else ()
    facts = [fact for fact in table.attrs["warnings"] if fact not in known]
    if len(facts) > MOST_WARNINGS:
        rest = f"{len(facts) - MOST_WARNINGS} more facts stand in table.attrs['warnings']"
        facts = [*facts[:MOST_WARNINGS], rest]
    for fact in facts:
        _warn_once(path, fact)


@cache  # Python's own memory of what was shown is emptied whenever anyone changes a warnings filter
def _warn_once(path: Path, fact: str) -> None:
    warnings.warn(f"{path}: {fact}", DataWarning, stacklevel=4)  # the line that called the loader
