"""Tables of molecules: read from a file, and checked row by row.

A *table* is a DataFrame with the columns ``smiles`` (str) and ``label`` (float). A check keeps every row: what cannot
be used raises a DataError, what is merely odd is listed in ``attrs["warnings"]``, and for a reader's own file also
shown as a DataWarning. Rows are named by their line in the file, the header being line 1. ``attrs["target"]`` says
what the labels are, for the axes of figures: "logD" or "logP" here, the column's own name in any other table.
"""

import csv
import io
import os
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError, DataWarning
from ..files import data_file, readers_file
from ..molformer import MAX_TOKENS, token_lengths, unknown_parts
from .molecules import LISTED_AS_LONG, canonical_or_none, shortened

HUB_DATASET = "scikit-fingerprints/MoleculeNet_Lipophilicity"

#: Usual column names, compared in lower case.
SMILES_NAMES = ("smiles", "canonical_smiles", "smile", "mol", "structure")
LABEL_NAMES = ("label", "labels", "exp", "logd", "lipophilicity", "y", "target", "value")

#: What may separate the fields of a line; the first one that shows a SMILES column in the header is taken.
SEPARATORS = (",", ";", "\t", "|")

#: Columns that become bool where every row has one of these words; elsewhere they stay as they are.
FLAGS = ("corrupted", "ionisable")
FLAG_WORDS = {"true": True, "false": False, "1": True, "0": False}

#: More facts about one file than these are counted, not shown one by one.
MOST_WARNINGS = 5


def load_lipophilicity(source: str = "local") -> pd.DataFrame:
    """Load the 4,200 molecules of MoleculeNet Lipophilicity: ``smiles``, ``label`` (logD at pH 7.4), ``chembl_id``.

    ``source`` is "local", the repository's copy, or "hub": ``scikit-fingerprints/MoleculeNet_Lipophilicity`` through
    ``datasets``, without ``chembl_id``.
    """
    if source == "local":
        return _read(data_file("lipophilicity.csv"), quantity="logD")
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
    table = check_table(raw, HUB_DATASET)
    table.attrs["target"] = "logD"
    return table


def load_logp() -> pd.DataFrame:
    """Load the measured logP of 2,378 molecules that are not in Lipophilicity.

    Columns: ``smiles``, ``label`` (logP), ``cas``, ``name``, ``groups`` (those that make the molecule ionisable),
    ``ionisable`` (bool), ``source``.
    """
    return _read(data_file("logp.csv"), quantity="logP")


def load_secondary(path: str | Path | None = None) -> pd.DataFrame:
    """Load the secondary set, or another table as :func:`load_table` does.

    The repository's set has measured logP values for labels, which are logD values only where a molecule carries no
    charge. A third column, ``corrupted``, is True where it is ionisable. It is there to grade selection methods; models
    read ``smiles`` and ``label`` alone.
    """
    return _read(data_file("secondary.csv"), quantity="logP") if path is None else _read(path)


def load_table(path: str | Path, target: str | None = None) -> pd.DataFrame:
    """Load any table: ``smiles``, ``label``, and the other columns as they stand.

    Parameters
    ----------
    path
        A file in UTF-8 with a header line, its fields separated by commas, semicolons, tabs or bars.
    target
        The name of the column to be predicted; None finds it by its usual names.

    Warns
    -----
    DataWarning
        If molecules are equal, or have more than 128 tokens.
    """
    return _read(path, target)


def _read(path: str | Path, target: str | None = None, quantity: str | None = None) -> pd.DataFrame:
    """Read and check a file; show what is odd about it, except in the repository's own: these have a ``quantity``."""
    path = Path(os.path.abspath(os.path.expanduser(path)))  # of this moment: the working directory may change
    header, rows, lines = _records(path)
    table = check_table(pd.DataFrame(rows, columns=header), path.name, lines, target)
    for name in table.columns.intersection(FLAGS):
        flags = table[name].str.lower().map(FLAG_WORDS)
        table[name] = table[name] if flags.hasnans else flags.astype(bool)
    if quantity is not None:
        table.attrs["target"] = quantity
        return table
    facts, rest = table.attrs["warnings"][:MOST_WARNINGS], table.attrs["warnings"][MOST_WARNINGS:]
    for fact in [*facts, f"{len(rest)} more facts stand in table.attrs['warnings']"] if rest else facts:
        _warn_once(path, fact)
    return table


@cache  # Python's own memory of what was shown is emptied whenever anyone changes a warnings filter
def _warn_once(path: Path, fact: str) -> None:
    warnings.warn(f"{path}: {fact}", DataWarning, stacklevel=4)  # the line that called the loader


def _records(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and the line on which each row begins: a quoted field may hold line breaks.

    Everything stays text, so that "NA" or an empty field is reported as it stands and not turned into a number.
    """
    records, begins = [], [1]
    readers_file(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")  # without the mark of byte order that spreadsheets put in front
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
        for record in reader:
            records.append(record)
            begins.append(reader.line_num + 1)
        if not records or not any(records[0]):
            raise ValueError("it has no header")
    except csv.Error as error:
        raise DataError(
            f"{path} is not a readable CSV (line {begins[-1]}: {error}); correct the line's quotes and separators"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable CSV ({error}); save it as UTF-8 text with a header line") from error
    header = [name or f"unnamed {number}" for number, name in enumerate(records[0], start=1)]
    rows = [record or [""] * len(header) for record in records[1:]]  # the reader gives a blank line no field at all
    lines = begins[1:-1]
    if uneven := [line for row, line in zip(rows, lines, strict=True) if len(row) != len(header)]:
        raise DataError(
            f"{path.name}: {lines_that(uneven)} more or fewer fields than the header, which has {len(header)}; "
            "give every line as many, and put a field that holds a separator in double quotes"
        )
    return header, rows, lines


def _separator(text: str) -> str:
    """The first of ``SEPARATORS`` by which the header has a SMILES column; a comma if there is none."""
    for separator in SEPARATORS:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
        if _usual(header, SMILES_NAMES):
            return separator
    return ","


def check_table(
    raw: pd.DataFrame, source: str = "table", lines: Sequence[int] | None = None, target: str | None = None
) -> pd.DataFrame:
    """Find the SMILES and label columns, check every row, and return the table: these two, then the other columns.

    Parameters
    ----------
    raw
        A frame with a SMILES column under a usual name, and the label's: ``target``, or None for a usual name.
    source, lines
        For messages: the file's name, and the line of each row in it (None: rows without line breaks from line 2 on).
    """
    smiles, label = _columns(raw, source, target)
    table = raw.rename(columns={"label": "other label"} | {smiles: "smiles", label: "label"}).reset_index(drop=True)
    table = table[["smiles", "label", *(c for c in table if c not in ("smiles", "label"))]]
    table["smiles"] = ["" if pd.isna(s) else str(s).strip() for s in table["smiles"]]
    # Text of other alphabets is no number: pandas fails on some of it.
    plain = table["label"].map(lambda value: None if isinstance(value, str) and not value.isascii() else value)
    labels = pd.to_numeric(plain, errors="coerce").astype(float)
    forms = [canonical_or_none(s) for s in table["smiles"]]
    line_of = np.arange(2, len(table) + 2) if lines is None else np.array(lines)
    found = []
    for fault, rows in _faults(table, labels, forms).items():
        if rows.any():
            first = table[rows].iloc[0]
            example = f"the first: smiles {shortened(first['smiles'])}, label {shortened(first['label'])}"
            found.append(f"{lines_that(line_of[rows])} {fault} ({example})")
    if found:
        raise DataError(f"{source}: " + "; ".join(found))
    table["label"] = labels
    table.attrs = {"target": str(label).strip(), "warnings": _oddities(table, forms, line_of)}
    return table


def _columns(raw: pd.DataFrame, source: str, target: str | None) -> tuple[str, str]:
    """The names of the SMILES and of the label column."""
    if target is not None and target not in raw:
        raise DataError(f"{source} has no column {target!r}; it has {listed(raw.columns)}")
    others = raw.columns if target is None else raw.columns.drop(target)
    smiles = _usual_column(others, SMILES_NAMES, "SMILES", source)
    label = _usual_column(others, LABEL_NAMES, "label", source) if target is None else target
    if not raw.columns.is_unique:
        twice = raw.columns[raw.columns.duplicated()][0]
        raise DataError(f"{source} has more than one column {shortened(twice)}; give each column a name of its own")
    if raw.empty:
        raise DataError(f"{source} has a header and no rows; add a line for each molecule")
    return smiles, label


def _usual_column(columns: pd.Index, names: Sequence[str], what: str, source: str) -> str:
    found = _usual(columns, names)
    if len(found) == 1:
        return found[0]
    state = f"several {what} columns ({listed(found)})" if found else f"no {what} column"
    remedy = ", or give its name as target" if what == "label" else ""
    fields = "" if len(columns) > 1 else ". Separate the fields of a line by commas, semicolons or tabs"
    raise DataError(
        f"{source} has {state} among {listed(columns)}; name exactly one column "
        f"'{names[0]}' (also understood: {', '.join(names[1:])}){remedy}{fields}"
    )


def _usual(columns: Iterable[object], names: Sequence[str]) -> list:
    return [column for column in columns if str(column).strip().lower() in names]


def _faults(table: pd.DataFrame, labels: pd.Series, forms: list[str | None]) -> dict[str, np.ndarray]:
    """What can be wrong with a row, and its remedy -> whether it is: bool [n]. ``labels``: the table's, as numbers."""
    smiles = table["smiles"]
    comma = table["label"].astype(str).str.fullmatch(r"\s*-?\d+,\d+\s*").to_numpy(dtype=bool)
    empty, unread = (smiles == "").to_numpy(), np.array([form is None for form in forms])
    pairs = zip(unknown_parts(smiles), unknown_parts(form or "" for form in forms), strict=True)
    unknown = [as_written or canonical for as_written, canonical in pairs]
    first = next((shortened(parts[0], 20) for parts in unknown if parts), "")
    return {
        "no SMILES; fill it in or delete the line": empty,
        "a SMILES that RDKit cannot read; correct it or delete the line": unread & ~empty,
        "a label with a decimal comma; write a point, or export the table with decimal points": comma,
        "a label that is missing or not a finite number; give one or delete the line": ~(np.isfinite(labels) | comma),
        "a SMILES with characters or symbols that the tokeniser does not know, as it is written or canonical (the "
        f"first: {first}); write it in standard SMILES or delete the line": np.array(list(map(bool, unknown))),
    }


def _oddities(table: pd.DataFrame, forms: list[str | None], line_of: np.ndarray) -> list[str]:
    """Facts about rows that can be used all the same."""
    found = []
    too_long = token_lengths(table["smiles"]) > MAX_TOKENS
    if too_long.any():
        found.append(f"{lines_that(line_of[too_long])} more than {MAX_TOKENS} tokens and will be cut")
        for row in np.flatnonzero(too_long):
            LISTED_AS_LONG.update((table["smiles"][row], forms[row] or ""))
    form = pd.Series(forms)
    for rows in form.groupby(form).indices.values():
        if len(rows) > 1:
            state = "the same label" if table["label"][rows].nunique() == 1 else "different labels"
            same = f"{lines_that(line_of[rows], 'are')} the same molecule with {state}"
            found.append(f"{same}; a random split may part them")
    return found


def listed(names: Iterable[object]) -> str:
    """Column names for a message; of many the first eight and their number, of a long one the beginning."""
    texts = [text if len(text) <= 60 else f"{text[:60]}..." for text in map(str, names)]
    return ", ".join(texts if len(texts) <= 9 else [*texts[:8], f"and {len(texts) - 8:,} more"])


def lines_that(lines: Sequence[int] | np.ndarray, verb: str = "have") -> str:
    """ "line 3 has", "lines 2, 5 and 9 have", or of many the first seven and the number of the others."""
    if len(lines) == 1:
        return f"line {lines[0]} has"
    shown = [str(line) for line in (lines if len(lines) <= 8 else lines[:7])]
    last = shown.pop() if len(lines) <= 8 else f"{len(lines) - 7} more"
    return f"lines {', '.join(shown)} and {last} {verb}"
