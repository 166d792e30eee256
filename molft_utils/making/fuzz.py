"""A million strings against the tokeniser and the loaders: ``python -m molft_utils.making.fuzz``, or ``make faults``.

Strings are real SMILES, real ones with a few characters changed, tokens of the vocabulary in any order, characters of
SMILES in any order, and any Unicode. Each goes through the tokeniser, which must give it back or name every part that
it does not know; and through a CSV file, which must be read with every row as it was written, or refused with its
faulty lines named. Files with a few bytes changed must be read with as many rows as the csv module counts, or refused.
A string with a NUL byte goes through the tokeniser alone, as no file may hold one. The counts go to
``data/results/fuzz.csv``.

The strings are drawn by a seeded generator: hypothesis, which the tests use, shrinks what fails to the shortest case,
but draws far more slowly.
"""

import argparse
import csv
import io
import random
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

import pandas as pd
from rdkit import Chem, rdBase
from transformers import PreTrainedTokenizerBase

from ..data import load_lipophilicity, load_table
from ..errors import DataError, DataWarning
from ..evaluation import records
from ..experiments import commit, inputs_of
from ..molformer import load_tokenizer, tokenise, unknown_parts

#: Strings that are drawn, and written into one file, at a time.
CHUNK = 10_000

#: Files with changed bytes in a chunk.
BROKEN_FILES = 100

SMILES_CHARACTERS = "CNOcnosPSFIBrlH[]()=#$:/\\@+-.%0123456789~*>|{} "


class Strings:
    """Draws strings, by a generator that a seed fixes."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.smiles = load_lipophilicity()["smiles"].tolist()
        self.tokens = sorted(load_tokenizer().get_vocab())
        self.kinds: Sequence[Callable[[], str]] = (self.real, self.changed, self.soup, self.characters, self.unicode)

    def draw(self, n: int) -> list[str]:
        """So many strings, of all kinds."""
        return [self.rng.choice(self.kinds)() for _ in range(n)]

    def real(self) -> str:
        """A real SMILES."""
        return self.rng.choice(self.smiles)

    def changed(self) -> str:
        """A real SMILES with up to four characters replaced, put in or left out."""
        text = list(self.real())
        for _ in range(self.rng.randint(1, 4)):
            at = self.rng.randrange(len(text) + 1)
            text[at : at + self.rng.randint(0, 1)] = self.rng.choice((self.rng.choice(SMILES_CHARACTERS), ""))
        return "".join(text)

    def soup(self) -> str:
        """Tokens in any order."""
        return "".join(self.rng.choices(self.tokens, k=self.rng.randint(0, 20)))

    def characters(self) -> str:
        """Characters of SMILES in any order."""
        return "".join(self.rng.choices(SMILES_CHARACTERS, k=self.rng.randint(0, 30)))

    def unicode(self) -> str:
        """Any characters, those of the control set and of other planes among them; no halves of UTF-16."""
        points = (self.rng.randrange(self.rng.choice((128, 0x3000, 0x110000))) for _ in range(self.rng.randint(0, 12)))
        return "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)

    def broken_file(self) -> bytes:
        """A good table of a few rows with up to three bytes changed."""
        rows = "".join(f"{self.real()},{self.rng.uniform(-3, 6):.2f}\n" for _ in range(self.rng.randint(1, 4)))
        content = bytearray(f"smiles,label\n{rows}".encode())
        for _ in range(self.rng.randint(1, 3)):
            content[self.rng.randrange(len(content))] = self.rng.choice(b'\0\n\r\t ",;1.C[\xff\xc3\xa9=')
        return bytes(content)


def tokeniser_faults(strings: Sequence[str]) -> int:
    """How many strings the tokeniser neither gives back nor splits into what it knows and what it names."""
    tokenizer, faults = shared_tokenizer(), 0
    for text, ids, unknown in zip(strings, tokenise(strings, 10_000), unknown_parts(strings), strict=True):
        spelled = tokenizer.convert_ids_to_tokens([i for i in ids[1:-1] if i != tokenizer.unk_token_id])
        whole = sum(map(len, spelled)) + sum(map(len, unknown)) == len(text)
        given_back = bool(unknown) or tokenizer.decode(ids[1:-1]) == text
        faults += not (whole and given_back)
    return faults


def can_be_read(text: str) -> bool:
    """Whether RDKit reads a string and the tokeniser's own parts, joined, are the string: asked without the loaders."""
    text = text.strip()
    with rdBase.BlockLogs():
        if not text or not text.isascii() or Chem.MolFromSmiles(text) is None:
            return False
    tokenizer = shared_tokenizer()
    ids = tokenizer(text)["input_ids"]
    return tokenizer.unk_token_id not in ids and "".join(tokenizer.convert_ids_to_tokens(ids)[1:-1]) == text


@lru_cache(maxsize=1)
def shared_tokenizer() -> PreTrainedTokenizerBase:
    """One tokeniser for all strings."""
    return load_tokenizer()


def written(path: Path, strings: Sequence[str]) -> list[int]:
    """Write a table of the strings, and return the line on which each begins."""
    buffer, lines = io.StringIO(newline=""), []
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["smiles", "label"])
    line = 2
    for text in strings:
        lines.append(line)
        writer.writerow([text, "1.5"])
        line += len(re.findall("\r\n|\r|\n", text)) + 1
    path.write_bytes(buffer.getvalue().encode("utf-8"))
    return lines


def table_faults(path: Path, strings: Sequence[str], counts: Counter) -> None:
    """Load a file of all the strings, and one of those that can be read; count what is not as it should be."""
    strings = [text for text in strings if "\0" not in text]
    good = [can_be_read(text) for text in strings]
    lines = written(path, strings)
    bad = [line for line, ok in zip(lines, good, strict=True) if not ok]
    message = loaded(path, counts)
    named = set(re.findall(r"\d+", message)) if isinstance(message, str) else set()
    counts["rows_not_named"] += bool(bad) and str(bad[0]) not in named
    kept = [text for text, ok in zip(strings, good, strict=True) if ok]
    written(path, kept)
    table = loaded(path, counts)
    found = table["smiles"].tolist() if isinstance(table, pd.DataFrame) else []
    counts["rows_lost"] += sum(text.strip() != cell for text, cell in zip_longest(kept, found, fillvalue=""))
    counts["read"] += len(kept)
    counts["refused"] += len(bad)


def loaded(path: Path, counts: Counter) -> pd.DataFrame | str | None:
    """The table, or the message with which it is refused; any other exception is counted, and shown."""
    counts["tables"] += 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            return load_table(path)
    except DataError as error:
        return str(error)
    except Exception as error:
        counts["foreign"] += 1
        print(f"{type(error).__name__}: {str(error)[:200]} from {path.read_bytes()[:500]!r}", flush=True)
        return None


def broken_file_faults(path: Path, content: bytes, counts: Counter) -> None:
    """Load a file with changed bytes: if it is read, then with as many rows as the csv module counts."""
    path.write_bytes(content)
    table = loaded(path, counts)
    if isinstance(table, pd.DataFrame):
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
        counts["rows_lost"] += len(rows) - 1 != len(table)


def fuzz(n_strings: int, seed: int, path: Path) -> Counter:
    """The counts for so many strings; ``path`` is written again and again."""
    strings, counts = Strings(seed), Counter[str]()
    while counts["strings"] < n_strings:
        drawn = strings.draw(min(CHUNK, n_strings - counts["strings"]))
        counts["strings"] += len(drawn)
        counts["not_given_back"] += tokeniser_faults(drawn)
        table_faults(path, drawn, counts)
        for _ in range(max(1, BROKEN_FILES * len(drawn) // CHUNK)):
            broken_file_faults(path, strings.broken_file(), counts)
    return counts


def main() -> None:
    """Fuzz, and put the counts on record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    args, began = parser.parse_args(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counts = fuzz(args.strings, args.seed, Path(folder) / "any.csv")
    row = {name: counts[name] for name in COLUMNS} | {"seconds": round(time.perf_counter() - began)}
    records.add("fuzz", {"seed": args.seed}, {**row, "commit": commit()}, inputs_of(None))
    print(row, flush=True)
    if any(row[name] for name in WRONG):
        sys.exit("some strings were met wrongly")


#: What is counted, and what of it should be 0.
WRONG = ("foreign", "rows_lost", "rows_not_named", "not_given_back")
COLUMNS = ("strings", "tables", "read", "refused", *WRONG)

if __name__ == "__main__":
    main()
