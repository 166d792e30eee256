"""Tables of molecules: read from a file, and checked row by row.

A *table* is a DataFrame with the columns ``smiles`` (str) and ``label`` (float). A check keeps every row: what cannot
be used raises a DataError, what is merely odd is listed in ``attrs["warnings"]``, and for a file of the reader's own
also shown as a DataWarning. Rows are named by their line in the file, the header being line 1. ``attrs["target"]`` says
what the labels are, for the axes of figures: "logD" or "logP" here, the column's own name in any other table.
"""

import csv
import dataclasses
import io
import os
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ..errors import DataError, DataWarning
from ..files import data_file
from ..molformer import MAX_TOKENS, token_lengths, unknown_parts
from .molecules import LONGEST_SMILES, canonical_or_none, shortened

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
    """Load the secondary set, or a table of one's own as :func:`load_table` does.

    The repository's set has measured logP values for labels, which are logD values only where a molecule carries no
    charge. A third column, ``corrupted``, is True where it is ionisable. It is there to grade selection methods; models
    read ``smiles`` and ``label`` alone.
    """
    return _read(data_file("secondary.csv"), quantity="logP") if path is None else _own(path, None)


def load_table(path: str | Path, target: str | None = None) -> pd.DataFrame:
    """Load a table of one's own: ``smiles``, ``label``, and the other columns as they stand.

    Parameters
    ----------
    path
        A file in UTF-8 with a header line, its fields separated by commas, semicolons, tabs or bars.
    target
        The name of the column to be predicted; None finds it by its usual names.

    Raises
    ------
    DataError
        If the file is missing or no such table, there is no column ``target``, or a row cannot be used.

    Warns
    -----
    DataWarning
        If molecules are equal, or have more than 128 tokens.
    """
    return _own(path, target)


def _own(path: str | Path, target: str | None) -> pd.DataFrame:
    """Read a file of the reader's own, and show once what is odd about it."""
    path = Path(os.path.abspath(os.path.expanduser(path)))  # of this moment: the working directory may change
    table = _read(path, target)
    facts = table.attrs["warnings"]
    if len(facts) > MOST_WARNINGS:
        rest = f"{len(facts) - MOST_WARNINGS} more facts stand in table.attrs['warnings']"
        facts = [*facts[:MOST_WARNINGS], rest]
    for fact in facts:
        _warn_once(path, fact)
    return table


@cache  # Python's own memory of what was shown is emptied whenever anyone changes a warnings filter
def _warn_once(path: Path, fact: str) -> None:
    warnings.warn(f"{path}: {fact}", DataWarning, stacklevel=4)  # the line that called the loader


def _read(path: Path, target: str | None = None, quantity: str | None = None) -> pd.DataFrame:
    """Read and check a file; ``target`` names the label's column, ``quantity`` what it measures."""
    header, rows, lines = _records(path)
    uneven = [line for row, line in zip(rows, lines, strict=True) if len(row) != len(header)]
    if uneven:
        raise DataError(
            f"{path.name}: {lines_have(uneven)} more or fewer fields than the header, which has {len(header)}; "
            "give every line as many, and put a field that holds a separator in double quotes"
        )
    table = check_table(pd.DataFrame(rows, columns=header), path.name, lines, target)
    for name in table.columns.intersection(FLAGS):
        flags = table[name].str.lower().map(FLAG_WORDS)
        table[name] = table[name] if flags.hasnans else flags.astype(bool)
    table.attrs["target"] = quantity or table.attrs["target"]
    return table


def _records(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and the line on which each row begins: a quoted field may hold line breaks.

    Everything stays text, so that "NA" or an empty field is reported as it stands and not turned into a number.
    """
    records, begins = [], [1]
    try:
        if path.exists() and not path.is_file():  # a folder; a pipe or a device would be read for ever
            raise OSError("it is no regular file")
        text = path.read_bytes().decode("utf-8-sig")  # without the mark of byte order that spreadsheets put in front
        if "\0" in text:
            raise ValueError("it holds NUL bytes")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
        for record in reader:
            records.append(record)
            begins.append(reader.line_num + 1)
        if not records or not any(records[0]):
            raise ValueError("it has no header")
    except FileNotFoundError as error:
        raise DataError(
            f"{path.name} does not exist in the folder {path.parent}; put it there, or give its whole path"
        ) from error
    except csv.Error as error:
        raise DataError(
            f"{path} is not a readable CSV (line {begins[-1]}: {error}); correct the line's quotes and separators"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable CSV ({error}); save it as UTF-8 text with a header line") from error
    header = [name or f"unnamed {number}" for number, name in enumerate(records[0], start=1)]
    rows = [record or [""] * len(header) for record in records[1:]]  # the reader gives a blank line no field at all
    return header, rows, begins[1:-1]


def _separator(text: str) -> str:
    """The first of ``SEPARATORS`` by which the header has a SMILES column; a comma if there is none."""
    for separator in SEPARATORS:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
        if any(_is_usual(name, SMILES_NAMES) for name in header):
            return separator
    return ","


def check_table(
    raw: pd.DataFrame, source: str = "table", lines: Sequence[int] | None = None, target: str | None = None
) -> pd.DataFrame:
    """Find the SMILES and label columns, check every row, and return the table with its warnings.

    Parameters
    ----------
    raw
        A frame with a SMILES column under a usual name, and the label's: ``target``, or None for a usual name.
    source, lines
        For messages: the file's name, and the line of each row in it (None: rows without line breaks from line 2 on).

    Returns
    -------
    DataFrame
        ``smiles`` (str), ``label`` (float), then the other columns; no row is dropped. ``attrs["warnings"]`` lists
        molecules of more than 128 tokens, equal molecules, and equal molecules with different labels.
    """
    smiles, label = _columns(raw, source, target)
    table = raw.rename(columns={"label": "other label"} | {smiles: "smiles", label: "label"}).reset_index(drop=True)
    table = table[["smiles", "label", *(c for c in table if c not in ("smiles", "label"))]]
    table["smiles"] = ["" if pd.isna(s) else str(s).strip() for s in table["smiles"]]
    lines = range(2, len(table) + 2) if lines is None else lines
    forms = [canonical_or_none(s) for s in table["smiles"]]
    labels = _numbers(table["label"])
    found = []
    for what, mask in _problems(table["smiles"], labels, forms).items():
        if rows := np.flatnonzero(np.asarray(mask)).tolist():
            first = table.iloc[rows[0]]
            example = f"the first: smiles {shortened(first['smiles'])}, label {shortened(first['label'])}"
            found.append(f"{lines_have(lines[row] for row in rows)} {what} ({example})")
    if found:
        raise DataError(f"{source}: " + "; ".join(found))
    table["label"] = labels
    table.attrs = {"target": str(label).strip(), "warnings": _oddities(table, forms, lines)}
    return table


def _columns(raw: pd.DataFrame, source: str, target: str | None) -> tuple[str, str]:
    """The names of the SMILES and of the label column."""
    if target is not None and target not in raw:
        raise DataError(f"{source} has no column {target!r}; it has {listed(raw.columns)}")
    smiles = _usual_column(raw.columns.drop(target) if target else raw.columns, SMILES_NAMES, "SMILES", source)
    label = _usual_column(raw.columns, LABEL_NAMES, "label", source) if target is None else target
    if not raw.columns.is_unique:
        twice = raw.columns[raw.columns.duplicated()][0]
        raise DataError(f"{source} has more than one column {shortened(twice)}; give each column a name of its own")
    if raw.empty:
        raise DataError(f"{source} has a header and no rows; add a line for each molecule")
    return smiles, label


def _is_usual(column: object, names: Sequence[str]) -> bool:
    return str(column).strip().lower() in names


def _usual_column(columns: pd.Index, names: Sequence[str], what: str, source: str) -> str:
    found = [column for column in columns if _is_usual(column, names)]
    if len(found) == 1:
        return found[0]
    state = f"several {what} columns ({listed(found)})" if found else f"no {what} column"
    fields = "" if len(columns) > 1 else ". Separate the fields of a line by commas, semicolons or tabs"
    raise DataError(
        f"{source} has {state} among {listed(columns)}; name exactly one column "
        f"'{names[0]}' (also understood: {', '.join(names[1:])}){fields}"
    )


def _numbers(column: pd.Series) -> pd.Series:
    """Labels as floats, nan where there is none. Text of other alphabets is none: pandas fails on some of it."""
    plain = column.map(lambda value: None if isinstance(value, str) and not value.isascii() else value)
    return pd.to_numeric(plain, errors="coerce").astype(float)


def _problems(smiles: pd.Series, labels: pd.Series, forms: list[str | None]) -> dict[str, ArrayLike]:
    """What can be wrong with a row, and its remedy -> whether it is, for each row."""
    empty, long = smiles == "", smiles.str.len() > LONGEST_SMILES
    unread = np.array([form is None for form in forms])
    pairs = zip(unknown_parts(smiles), unknown_parts(form or "" for form in forms), strict=True)
    unknown = [as_written or canonical for as_written, canonical in pairs]
    first = next((shortened(parts[0], 20) for parts in unknown if parts), "")
    return {
        "no SMILES; fill it in or delete the line": empty,
        f"a SMILES of more than {LONGEST_SMILES:,} characters; correct it or delete the line": long,
        "a SMILES that RDKit cannot read; correct it or delete the line": unread & ~empty & ~long,
        "a label that is missing or not a finite number; give one or delete the line": ~np.isfinite(labels),
        "a SMILES with characters or symbols that the tokeniser does not know, as it is written or canonical (the "
        f"first: {first}); write it in standard SMILES or delete the line": np.array(
            [bool(parts) for parts in unknown]
        ),
    }


def _oddities(table: pd.DataFrame, forms: list[str | None], lines: Sequence[int]) -> list[str]:
    """Facts about rows that can be used all the same."""
    found = []
    too_long = np.flatnonzero(token_lengths(table["smiles"]) > MAX_TOKENS).tolist()
    if too_long:
        found.append(f"{lines_have(lines[row] for row in too_long)} more than {MAX_TOKENS} tokens and will be cut")
    form = pd.Series(forms)
    repeated = form[form.duplicated(keep=False)]
    for _, rows in repeated.groupby(repeated):
        state = "the same label" if table["label"][rows.index].nunique() == 1 else "different labels"
        found.append(f"{named(lines[row] for row in rows.index)} are the same molecule with {state}")
    return found


def listed(names: Iterable[object]) -> str:
    """Column names for a message; of many the first eight and their number, of a long one the beginning."""
    texts = [text if len(text) <= 60 else f"{text[:60]}..." for text in map(str, names)]
    return ", ".join(texts if len(texts) <= 9 else [*texts[:8], f"and {len(texts) - 8:,} more"])


def lines_have(lines: Iterable[int]) -> str:
    """ "line 3 has" or "lines 2 and 9 have"."""
    lines = list(lines)
    return f"{named(lines)} {'has' if len(lines) == 1 else 'have'}"


def named(lines: Iterable[int]) -> str:
    """ "lines 2, 5 and 9", or of many the first seven and their number."""
    numbers = [str(line) for line in lines]
    if len(numbers) > 8:
        numbers = [*numbers[:7], f"{len(numbers) - 7} more"]
    if len(numbers) == 1:
        return f"line {numbers[0]}"
    return f"lines {', '.join(numbers[:-1])} and {numbers[-1]}"


@dataclasses.dataclass(frozen=True)
class LengthStudy:
    """The report's study of lengths, in tokens."""

    n_sample: int
    longest_of_sample: int
    longest: int
    n_cut: int
    n: int

    def __str__(self) -> str:
        return (
            f"longest of {self.n_sample:,} random SMILES: {self.longest_of_sample} tokens; "
            f"longest of all {self.n:,}: {self.longest}; longer than {MAX_TOKENS}: {self.n_cut}"
        )


def length_study(table: pd.DataFrame, n: int = 1000, seed: int = 42) -> LengthStudy:
    """Find the longest of ``n`` random SMILES, and what a limit of 128 tokens cuts in the whole table."""
    lengths = token_lengths(table["smiles"])
    n = min(n, len(lengths))
    sample = np.random.default_rng(seed).choice(lengths, size=n, replace=False)
    return LengthStudy(n, int(sample.max()), int(lengths.max()), int((lengths > MAX_TOKENS).sum()), len(lengths))
