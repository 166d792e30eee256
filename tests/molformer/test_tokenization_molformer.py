"""The tokeniser: built once for the package's own calls, and a caller's own is nobody else's."""

import pytest

from molft_utils.molformer import load_tokenizer, token_lengths, tokenise, tokenization_molformer

LONG = "C" * 200


@pytest.fixture
def counted(monkeypatch):
    """How often a tokeniser is built."""
    built = []

    class Counted(tokenization_molformer.PreTrainedTokenizerFast):
        def __init__(self, **options):
            built.append(1)
            super().__init__(**options)

    tokenization_molformer._shared_tokenizer.cache_clear()
    monkeypatch.setattr(tokenization_molformer, "PreTrainedTokenizerFast", Counted)
    yield built
    tokenization_molformer._shared_tokenizer.cache_clear()


def test_it_is_built_once_for_many_molecules(counted):
    assert [len(tokenise([smiles])[0]) for smiles in ("CCO", "CCN", "CCCCO")] == [5, 5, 7]
    assert token_lengths(["CCO"]).tolist() == [5] and len(counted) == 1


def test_truncation_of_one_call_does_not_reach_another():
    mine = load_tokenizer()
    assert [len(ids) for ids in tokenise([LONG, "CCO"], max_tokens=7)] == [7, 5]
    assert token_lengths([LONG]).tolist() == [202] and len(mine(LONG)["input_ids"]) == 202
    assert len(mine.tokenize(LONG)) == 200 and len(load_tokenizer()(LONG)["input_ids"]) == 202
    assert [len(ids) for ids in tokenise([LONG])] == [128]


def test_what_a_user_does_to_a_tokeniser_does_not_reach_the_package_or_other_users():
    mine = load_tokenizer()
    mine.padding_side = mine.truncation_side = "left"
    mine.add_tokens(["CCO"])
    padded = mine([LONG, "CCO"], padding=True, truncation=True, max_length=9)["input_ids"]
    assert [len(ids) for ids in padded] == [9, 9]
    assert len(tokenise(["CCO"])[0]) == token_lengths(["CCO"])[0] == 5
    assert load_tokenizer().padding_side == "right" and len(load_tokenizer()("CCO")["input_ids"]) == 5


def test_no_molecules_have_no_tokens():
    assert tokenise([]) == [] and token_lengths([]).shape == (0,)
