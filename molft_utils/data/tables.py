"""Tables of molecules: reading them, and checking every row.

A *table* is a DataFrame with the columns ``smiles`` (str) and ``label`` (float, logD at pH 7.4). Reading keeps every
row: what cannot be used raises :class:`~molft_utils.errors.DataError`, what is merely odd is listed in
``table.attrs["warnings"]``. Rows are named by their line in the file, the header being line 1.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rdkit import Chem

from ..errors import DataError
from ..files import DATA_FOLDER
from ..molformer import MAX_TOKENS, load_tokenizer, token_lengths
from .molecules import parse

HUB_DATASET = "scikit-fingerprints/MoleculeNet_Lipophilicity"


def load_lipophilicity(source: str = "local") -> pd.DataFrame:
    """The 4,200 molecules of MoleculeNet Lipophilicity, checked.

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
        If the file is missing or a row cannot be used.
    """
    if source == "local":
        return read_table(DATA_FOLDER / "lipophilicity.csv")
    if source != "hub":
        raise DataError(f"unknown source {source!r}; choose 'local' or 'hub'")
    import datasets  # only here: it takes seconds to import

    return check_table(datasets.load_dataset(HUB_DATASET, split="train").to_pandas(), HUB_DATASET)


def load_secondary(path: str | Path | None = None) -> pd.DataFrame:
    """The secondary set, or any CSV with SMILES and label columns under their usual names, checked.

    The repository's own set has a third column, ``corrupted``: True where the label was shuffled. It is there to grade
    selection methods; models read ``smiles`` and ``label`` alone.

    Raises
    ------
    DataError
        If the file is missing, its columns are not found, or a row cannot be used.
    """
    return read_table(Path(path) if path is not None else DATA_FOLDER / "secondary.csv")


#: Usual column names, compared in lower case.
SMILES_NAMES = ("smiles", "canonical_smiles", "smile", "mol", "structure")


LABEL_NAMES = ("label", "labels", "exp", "logd", "lipophilicity", "y", "target", "value")


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
    """Longest of ``n`` random SMILES, and what a limit of 128 tokens cuts in the whole table."""
    lengths = token_lengths(table["smiles"])
    n = min(n, len(lengths))
    sample = np.random.default_rng(seed).choice(lengths, size=n, replace=False)
    return LengthStudy(n, int(sample.max()), int(lengths.max()), int((lengths > MAX_TOKENS).sum()), len(lengths))
