"""Tables of molecules: reading them, and checking every row.

A *table* is a DataFrame with the columns ``smiles`` (str) and ``label`` (float, logD at pH 7.4). Reading keeps every
row: what cannot be used raises :class:`~molft_utils.errors.DataError`, what is merely odd is listed in
``table.attrs["warnings"]``. Rows are named by their line in the file, the header being line 1.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from rdkit import Chem, rdBase

from .checkpoints import load_tokenizer
from .errors import DataError

#: The report's limit, <bos> and <eos> included; three of the 4,200 molecules are longer.
MAX_TOKENS = 128

#: Usual column names, compared in lower case.
SMILES_NAMES = ("smiles", "canonical_smiles", "smile", "mol", "structure")
LABEL_NAMES = ("label", "labels", "exp", "logd", "lipophilicity", "y", "target", "value")


def parse(smiles: str) -> Chem.Mol | None:
    """RDKit's molecule, or None; RDKit's own messages are kept off the page."""
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles)


@lru_cache(maxsize=50_000)  # the same molecules come by many times in a notebook
def canonicalise(smiles: str) -> str:
    """RDKit's canonical SMILES, with stereochemistry: one string for each molecule.

    Raises
    ------
    DataError
        If RDKit cannot read the SMILES.
    """
    return Chem.MolToSmiles(_parsed(smiles))


@lru_cache(maxsize=50_000)
def flat_key(smiles: str) -> str:
    """Canonical SMILES without stereochemistry: equal for mirror images and for E and Z.

    Raises
    ------
    DataError
        If RDKit cannot read the SMILES.
    """
    return Chem.MolToSmiles(_parsed(smiles), isomericSmiles=False)


def _parsed(smiles: str) -> Chem.Mol:
    molecule = parse(smiles)
    if molecule is None or not smiles.strip():
        raise DataError(f"RDKit cannot read the SMILES {smiles!r}; correct it or take the molecule out")
    return molecule


def token_lengths(smiles: Iterable[str]) -> np.ndarray:
    """Number of tokens of each SMILES, <bos> and <eos> included: int array [n]."""
    return np.array([len(ids) for ids in load_tokenizer()(list(smiles))["input_ids"]], dtype=int)


def read_table(path: Path) -> pd.DataFrame:
    """Read and check a CSV; see :func:`check_table`."""
    try:
        # As text, so that "NA" or an empty field is reported as it stands and not turned into a number.
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; `make data` makes the repository's tables") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable CSV ({error}); save it as UTF-8 text with a header line") from error
    table = check_table(raw, path.name)
    if "corrupted" in table:
        table["corrupted"] = _booleans(table["corrupted"], path.name)
    return table


def _booleans(column: pd.Series, source: str) -> pd.Series:
    known = column.str.lower().map({"true": True, "false": False})
    if known.isna().any():
        bad = column[known.isna()]
        raise DataError(f"{source}, {_lines(bad.index)}: corrupted is {bad.iloc[0]!r}; write True or False")
    return known.astype(bool)


def check_table(raw: pd.DataFrame, source: str = "table") -> pd.DataFrame:
    """Find the SMILES and label columns, check every row, and return the table with its warnings.

    Parameters
    ----------
    raw
        A frame with a SMILES and a label column under usual names (see ``SMILES_NAMES`` and ``LABEL_NAMES``).
    source
        The file's name, for messages.

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
    smiles_column = _find_column(raw, SMILES_NAMES, "SMILES", source)
    label_column = _find_column(raw, LABEL_NAMES, "label", source)
    if raw.empty:
        raise DataError(f"{source} has a header and no rows")
    table = raw.rename(columns={smiles_column: "smiles", label_column: "label"}).reset_index(drop=True)
    table = table[["smiles", "label", *(c for c in table if c not in ("smiles", "label"))]]
    table["smiles"] = ["" if pd.isna(s) else str(s).strip() for s in table["smiles"]]
    labels = pd.to_numeric(table["label"], errors="coerce")
    molecules = [parse(s) if s else None for s in table["smiles"]]
    lossless, lengths = _tokens_join(list(table["smiles"]))
    problems = {
        "have no SMILES; fill it in or delete the line": table["smiles"] == "",
        "have a SMILES that RDKit cannot read; correct it or delete the line": [
            m is None and s != "" for m, s in zip(molecules, table["smiles"], strict=True)
        ],
        "have a label that is missing or not a finite number; give one in logD or delete the line": ~np.isfinite(
            labels
        ),
        "have a SMILES with characters or symbols that the tokeniser does not know; write it in standard SMILES "
        "(canonicalise it with RDKit) or delete the line": ~lossless & (table["smiles"] != ""),
    }
    _raise_problems(table, problems, source)
    table["label"] = labels.astype(float)
    table.attrs["warnings"] = _warnings(table, molecules, lengths)
    return table


def _find_column(raw: pd.DataFrame, names: Sequence[str], what: str, source: str) -> str:
    found = [column for column in raw.columns if str(column).strip().lower() in names]
    if len(found) == 1:
        return found[0]
    state = f"several {what} columns ({', '.join(map(str, found))})" if found else f"no {what} column"
    raise DataError(
        f"{source} has {state} among {', '.join(map(str, raw.columns))}; name exactly one column "
        f"'{names[0]}' (also understood: {', '.join(names[1:])})"
    )


def _tokens_join(smiles: list[str]) -> tuple[pd.Series, np.ndarray]:
    """Whether the tokens of each SMILES, joined, are the SMILES itself, none of them unknown; and their number."""
    tokenizer = load_tokenizer()
    encoded = tokenizer(smiles)
    joined = ["".join(encoded[i].tokens[1:-1]) == s for i, s in enumerate(smiles)]
    unknown = [tokenizer.unk_token_id in ids for ids in encoded["input_ids"]]
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    return pd.Series([j and not u for j, u in zip(joined, unknown, strict=True)]), lengths


def _raise_problems(table: pd.DataFrame, problems: dict, source: str) -> None:
    found = []
    for what, mask in problems.items():
        rows = np.flatnonzero(np.asarray(mask))
        if len(rows):
            first = table.iloc[rows[0]]
            found.append(f"{_lines(rows)} {what} (the first: smiles {first['smiles']!r}, label {first['label']!r})")
    if found:
        raise DataError(f"{source}: " + "; ".join(found))


def _warnings(table: pd.DataFrame, molecules: list[Chem.Mol], lengths: np.ndarray) -> list[str]:
    found = []
    long = np.flatnonzero(lengths > MAX_TOKENS)
    if len(long):
        found.append(f"{_lines(long)} have more than {MAX_TOKENS} tokens and will be cut")
    keys = pd.Series([Chem.MolToSmiles(m) for m in molecules])
    for _, group in table.groupby(keys):
        if len(group) > 1:
            state = "the same label" if group["label"].nunique() == 1 else "different labels"
            found.append(f"{_lines(group.index)} are the same molecule with {state}")
    return found


def _lines(rows: Iterable[int]) -> str:
    """ "lines 2, 5 and 9": places in the file, the header being line 1."""
    numbers = [str(row + 2) for row in rows]
    if len(numbers) > 8:
        numbers = [*numbers[:7], f"{len(numbers) - 7} more"]
    if len(numbers) == 1:
        return f"line {numbers[0]}"
    return f"lines {', '.join(numbers[:-1])} and {numbers[-1]}"
