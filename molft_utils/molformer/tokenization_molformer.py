"""SMILES as tokens."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Encoding
from transformers import PreTrainedTokenizerFast

from ..errors import CheckpointError, DataError
from ..files import MINI_FOLDER, NAMED

#: The report's limit, <bos> and <eos> included; three of the 4,200 molecules are longer.
MAX_TOKENS = 128

#: The id of <pad> in the vocabulary.
PAD = 2


def load_tokenizer(checkpoint: str | Path = "mini") -> PreTrainedTokenizerFast:
    """Load the SMILES tokeniser; every MoLFormer has the same, so a folder without one gets the repository's copy.

    It is a word-level vocabulary over a regular expression. Beware: characters that the expression misses are dropped
    without a word ("HCl" becomes "Cl"); the loaders in :mod:`molft_utils.data` refuse such strings.

    Each call builds a tokeniser of the caller's own (2 ms), since it holds state that may change, such as padding.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged.
    """
    file = MINI_FOLDER / "tokenizer.json"
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
def _shared_tokenizer() -> PreTrainedTokenizerFast:
    """The tokeniser of the functions below, built once; each of their calls sets truncation and padding itself."""
    return load_tokenizer()


def _texts(smiles: Iterable[str]) -> list[str]:
    """The SMILES as a list of texts that the library can read: half a character of UTF-16 becomes one that it drops."""
    if isinstance(smiles, str):
        raise DataError(f"{smiles[:50]!r} is one text, not a list of SMILES; put it in a list")
    texts = list(smiles)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"SMILES number {row}, counted from 0, is {text!r} and no text; give a string")
    return [re.sub("[\ud800-\udfff]", "\ufffd", text) for text in texts]


def _ids(smiles: Iterable[str], **limits) -> list[list[int]]:
    texts = _texts(smiles)
    return _shared_tokenizer()(texts, **limits)["input_ids"] if texts else []  # the library fails on an empty list


def tokenise(smiles: Sequence[str], max_tokens: int = MAX_TOKENS) -> list[list[int]]:
    """Token ids of each SMILES, <bos> and <eos> included; longer ones are cut to ``max_tokens``."""
    return _ids(smiles, truncation=True, max_length=max_tokens)


def token_lengths(smiles: Iterable[str]) -> np.ndarray:
    """Number of tokens of each SMILES, <bos> and <eos> included: int array [n]."""
    return np.array([len(ids) for ids in _ids(smiles)], dtype=int)


def unknown_parts(smiles: Sequence[str]) -> list[list[str]]:
    """What the tokeniser drops or does not know in each SMILES, in order: nothing where its tokens give it back."""
    texts = _texts(smiles)
    encodings = (_shared_tokenizer()(texts).encodings or []) if texts else []
    unknown = _shared_tokenizer().unk_token
    return [_between(text, _known_spans(e, unknown)) for text, e in zip(smiles, encodings, strict=True)]


def _known_spans(encoding: Encoding, unknown: str) -> list[tuple[int, int]]:
    """Where each token stands in the text, <bos> and <eos> left out, and unknown tokens, too."""
    inner = zip(encoding.tokens[1:-1], encoding.offsets[1:-1], strict=True)
    return [span for token, span in inner if token != unknown]


def _between(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """The parts of a text that no span covers."""
    ends = [0, *(stop for _, stop in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    return [text[end:start] for end, start in zip(ends, starts, strict=True) if start > end]
