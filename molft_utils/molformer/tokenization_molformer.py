"""SMILES as tokens."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from ..errors import CheckpointError
from ..files import MINI_FOLDER


def load_tokenizer(checkpoint: str | Path = "mini") -> PreTrainedTokenizerFast:
    """The SMILES tokeniser; every MoLFormer has the same, so a folder without one gets the repository's copy.

    It is a word-level vocabulary over a regular expression. Beware: characters that the expression misses are dropped
    without a word ("HCl" becomes "Cl"); the loaders in :mod:`molft_utils.data` refuse such strings.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged.
    """
    file = MINI_FOLDER / "tokenizer.json"
    if checkpoint not in ("mini", "xl") and (Path(checkpoint) / "tokenizer.json").exists():
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


def tokenise(smiles: Sequence[str], max_tokens: int = 128) -> list[list[int]]:
    """Token ids of each SMILES, <bos> and <eos> included; longer ones are cut to ``max_tokens``."""
    return load_tokenizer()(list(smiles), truncation=True, max_length=max_tokens)["input_ids"]


def token_lengths(smiles: Iterable[str]) -> np.ndarray:
    """Number of tokens of each SMILES, <bos> and <eos> included: int array [n]."""
    return np.array([len(ids) for ids in load_tokenizer()(list(smiles))["input_ids"]], dtype=int)


#: The report's limit, <bos> and <eos> included; three of the 4,200 molecules are longer.
MAX_TOKENS = 128
