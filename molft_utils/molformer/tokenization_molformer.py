"""SMILES as tokens."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerFast

from ..errors import CheckpointError, DataError
from ..files import CARRIED, NAMED

#: The report's limit, <bos> and <eos> included; three of the 4,200 molecules are longer.
MAX_TOKENS = 128

#: The id of <pad> in the vocabulary.
PAD = 2


def load_tokenizer(checkpoint: str | Path = "mini") -> PreTrainedTokenizerFast:
    """Load the SMILES tokeniser; every MoLFormer has the same, so a folder without one gets the repository's copy.

    It is a word-level vocabulary over a regular expression. Beware: characters that the expression misses are dropped
    without a word ("HCl" becomes "Cl"); :func:`tokenise` refuses such strings.

    Each call builds a tokeniser of the caller's own (2 ms), since it holds state that may change, such as padding.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged.
    """
    file = CARRIED["mini"] / "tokenizer.json"
    if checkpoint not in NAMED and (Path(checkpoint) / "tokenizer.json").exists():
        file = Path(checkpoint) / "tokenizer.json"
    try:
        return PreTrainedTokenizerFast(
            tokenizer_file=str(file),
            bos_token="<bos>",
            eos_token="<eos>",
            pad_token="<pad>",
            mask_token="<mask>",
            unk_token="<unk>",
            cls_token="<bos>",
            sep_token="<eos>",
            padding_side="right",
            model_input_names=["input_ids", "attention_mask"],
            clean_up_tokenization_spaces=False,
        )
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise CheckpointError(f"{file} is missing or damaged: {error}") from error


@lru_cache(maxsize=1)
def _shared_tokenizer() -> Tokenizer:
    """The tokeniser of the functions below, built once; none of them cuts or pads with it."""
    return load_tokenizer().backend_tokenizer


def smiles_list(smiles: Iterable[str]) -> list[str]:
    """SMILES as a list of texts; a DataError if they are anything else, such as one text or a whole table."""
    if isinstance(smiles, str):
        raise DataError(f"{smiles[:50]!r} is one text, not a list of SMILES; put it in a list")
    if isinstance(smiles, pd.DataFrame | Mapping):
        raise DataError("a table is no list of SMILES; give its column, table['smiles']")
    texts = list(smiles)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"SMILES number {row}, counted from 0, is {text!r} and no text; give a string")
    return texts


def _encodings(texts: list[str]) -> list[Encoding]:
    """Tokens with their places in the text; half a character of UTF-16, which the library cannot read, is unknown."""
    return _shared_tokenizer().encode_batch([re.sub("[\ud800-\udfff]", "\ufffd", text) for text in texts])


def tokenise(smiles: Iterable[str], max_tokens: int = MAX_TOKENS) -> list[list[int]]:
    """Token ids of each SMILES as it is written, <bos> and <eos> included; longer ones are cut to ``max_tokens``.

    Raises
    ------
    DataError
        If this is no list of texts, or the tokeniser does not know a part of one and would leave it out.
    """
    texts = smiles_list(smiles)
    encodings = _encodings(texts)
    for text, encoding in zip(texts, encodings, strict=True):
        if unknown := _unknown(text, encoding):
            raise DataError(f"the tokeniser does not know {unknown[0]!r} in {text[:200]!r}; take the molecule out")
    ids = [encoding.ids for encoding in encodings]
    return [i if len(i) <= max_tokens else [*i[: max_tokens - 1], i[-1]] for i in ids]


def token_lengths(smiles: Iterable[str]) -> np.ndarray:
    """Number of tokens of each SMILES, <bos> and <eos> included: int array [n]."""
    return np.array([len(encoding) for encoding in _encodings(smiles_list(smiles))], dtype=int)


def unknown_parts(smiles: Iterable[str]) -> list[list[str]]:
    """What the tokeniser drops or does not know in each SMILES, in order: nothing where its tokens give it back."""
    texts = smiles_list(smiles)
    return [_unknown(text, encoding) for text, encoding in zip(texts, _encodings(texts), strict=True)]


def _unknown(text: str, encoding: Encoding) -> list[str]:
    """The parts of a text that no known token covers."""
    tokens = zip(encoding.tokens[1:-1], encoding.offsets[1:-1], strict=True)  # without <bos> and <eos>
    known = [span for token, span in tokens if token != "<unk>"]
    ends = [0, *(end for _, end in known)]
    starts = [*(start for start, _ in known), len(text)]
    return [text[end:start] for end, start in zip(ends, starts, strict=True) if start > end]
