"""Tables of molecules: checking every row, and the study of their lengths.

A *table* is a DataFrame with the columns ``smiles`` (str) and ``label`` (float, logD at pH 7.4). A check keeps every
row: what cannot be used raises :class:`~molft_utils.errors.DataError`, what is merely odd is listed in
``table.attrs["warnings"]``. Rows are named by their line in the file, the header being line 1.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from rdkit import Chem

from ..errors import DataError
from ..molformer import MAX_TOKENS, token_lengths, unknown_parts
from .molecules import LONGEST_SMILES, parse, shortened

#: Usual column names, compared in lower case.
SMILES_NAMES = ("smiles", "canonical_smiles", "smile", "mol", "structure")
LABEL_NAMES = ("label", "labels", "exp", "logd", "lipophilicity", "y", "target", "value")


def check_table(raw: pd.DataFrame, source: str = "table", lines: Sequence[int] | None = None) -> pd.DataFrame:
    """Find the SMILES and label columns, check every row, and return the table with its warnings.

    Parameters
    ----------
    raw
        A frame with a SMILES and a label column under usual names (see ``SMILES_NAMES`` and ``LABEL_NAMES``).
    source
        The file's name, for messages.
    lines
        The line of each row in its file, for messages; None: the first row is line 2, and each row has one line.

    Returns
    -------
    DataFrame
        ``smiles`` (str), ``label`` (float), then the other columns; no row is dropped. ``attrs["warnings"]`` lists
        molecules of more than 128 tokens, equal molecules, and equal molecules with different labels.

    Raises
    ------
    DataError
        Naming lines and remedy, if a SMILES is missing or cannot be read by RDKit, a label is missing or not a finite
        number, or the tokeniser does not give a SMILES back.
    """
    table = _renamed(raw, source)
    lines = range(2, len(table) + 2) if lines is None else lines
    labels = _numbers(table["label"])
    molecules = [parse(s) if s else None for s in table["smiles"]]
    unknown = unknown_parts(list(table["smiles"]))
    _raise_problems(table, _problems(table["smiles"], labels, molecules, unknown), source, lines)
    table["label"] = labels
    table.attrs["warnings"] = _warnings(table, molecules, token_lengths(table["smiles"]), lines)
    return table


def _renamed(raw: pd.DataFrame, source: str) -> pd.DataFrame:
    """The two columns under our names and in front, the SMILES stripped, the rows numbered from 0."""
    columns = {
        _find_column(raw, SMILES_NAMES, "SMILES", source): "smiles",
        _find_column(raw, LABEL_NAMES, "label", source): "label",
    }
    if raw.empty:
        raise DataError(f"{source} has a header and no rows; add a line for each molecule")
    table = raw.rename(columns=columns).reset_index(drop=True)
    table = table[["smiles", "label", *(c for c in table if c not in ("smiles", "label"))]]
    table["smiles"] = ["" if pd.isna(s) else str(s).strip() for s in table["smiles"]]
    return table


def _find_column(raw: pd.DataFrame, names: Sequence[str], what: str, source: str) -> str:
    found = [column for column in raw.columns if str(column).strip().lower() in names]
    if len(found) == 1:
        return found[0]
    state = f"several {what} columns ({listed(found)})" if found else f"no {what} column"
    raise DataError(
        f"{source} has {state} among {listed(raw.columns)}; name exactly one column "
        f"'{names[0]}' (also understood: {', '.join(names[1:])})"
    )


def listed(names: Iterable[object]) -> str:
    """Column names for a message; of many the first eight and their number, of a long one the beginning."""
    texts = [text if len(text) <= 60 else f"{text[:60]}..." for text in map(str, names)]
    return ", ".join(texts if len(texts) <= 9 else [*texts[:8], f"and {len(texts) - 8:,} more"])


def readable(smiles: Sequence[str]) -> np.ndarray:
    """Whether the models can read each SMILES: bool [n]. RDKit must, the tokeniser must know its symbols, and it must
    have at most 128 tokens."""
    known = np.array([not parts for parts in unknown_parts(list(smiles))])
    return np.array([parse(s) is not None for s in smiles]) & known & (token_lengths(smiles) <= MAX_TOKENS)


def _numbers(column: pd.Series) -> pd.Series:
    """Labels as floats, nan where there is none. Text of other alphabets is none: pandas fails on some of it."""
    plain = column.map(lambda value: None if isinstance(value, str) and not value.isascii() else value)
    return pd.to_numeric(plain, errors="coerce").astype(float)


def _problems(
    smiles: pd.Series, labels: pd.Series, molecules: list[Chem.Mol | None], unknown: list[list[str]]
) -> dict[str, ArrayLike]:
    """What can be wrong with a row, and its remedy -> whether it is, for each row."""
    empty, long = smiles == "", smiles.str.len() > LONGEST_SMILES
    unread = np.array([molecule is None for molecule in molecules])
    first = next((shortened(part, 20) for parts in unknown for part in parts), "")
    return {
        "no SMILES; fill it in or delete the line": empty,
        f"a SMILES of more than {LONGEST_SMILES:,} characters; correct it or delete the line": long,
        "a SMILES that RDKit cannot read; correct it or delete the line": unread & ~empty & ~long,
        "a label that is missing or not a finite number; give one in logD or delete the line": ~np.isfinite(labels),
        f"a SMILES with characters or symbols that the tokeniser does not know (the first: {first}); write it in "
        "standard SMILES (canonicalise it with RDKit) or delete the line": np.array([bool(parts) for parts in unknown]),
    }


def _raise_problems(table: pd.DataFrame, problems: Mapping[str, ArrayLike], source: str, lines: Sequence[int]) -> None:
    found = []
    for what, mask in problems.items():
        rows = np.flatnonzero(np.asarray(mask)).tolist()
        if len(rows):
            first = table.iloc[rows[0]]
            example = f"the first: smiles {shortened(first['smiles'])}, label {shortened(first['label'])}"
            found.append(f"{lines_have(lines[row] for row in rows)} {what} ({example})")
    if found:
        raise DataError(f"{source}: " + "; ".join(found))


def _warnings(
    table: pd.DataFrame, molecules: Sequence[Chem.Mol | None], lengths: np.ndarray, lines: Sequence[int]
) -> list[str]:
    found = []
    too_long = np.flatnonzero(lengths > MAX_TOKENS).tolist()
    if len(too_long):
        found.append(f"{lines_have(lines[row] for row in too_long)} more than {MAX_TOKENS} tokens and will be cut")
    keys = pd.Series([Chem.MolToSmiles(m) for m in molecules])
    for _, group in table.groupby(keys):
        if len(group) > 1:
            state = "the same label" if group["label"].nunique() == 1 else "different labels"
            found.append(f"{named(lines[row] for row in group.index)} are the same molecule with {state}")
    return found


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
