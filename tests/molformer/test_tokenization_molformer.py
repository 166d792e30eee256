"""The tokeniser: built once for the package's own calls, and a caller's own is nobody else's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molft_utils import DataError
from molft_utils.molformer import load_tokenizer, token_lengths, tokenise, tokenization_molformer, unknown_parts

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


@pytest.mark.parametrize(
    ("smiles", "unknown"),
    [
        ("CCO", []), ("", []), ("C[13CH3]", []), ("HCl", ["H"]), ("[Re]$[Re]", ["$"]), ("C%(100)C", ["%"]),
        ("CCO |$a$|", [" |$a$|"]), ("é", ["é"]), ("C\u0301C", ["\u0301"]), ("C\ud800C", ["\ud800"]),
        ("<unk>", ["<unk>"]),
    ],
)  # fmt: skip
def test_what_the_tokeniser_does_not_know_is_named(smiles, unknown):
    assert unknown_parts([smiles, "CCO"]) == [unknown, []]


def test_what_is_no_list_of_texts_is_refused():
    with pytest.raises(DataError, match="'CCO' is one text, not a list of SMILES"):
        tokenise("CCO")
    with pytest.raises(DataError, match="number 1, counted from 0, is None and no text"):
        token_lengths(["CCO", None])


TOKENS = sorted(load_tokenizer().get_vocab())


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.one_of(st.text(max_size=20), st.lists(st.sampled_from(TOKENS), max_size=12).map("".join)))
def test_any_text_is_given_back_or_its_unknown_parts_are_named(text):
    tokenizer, ids, (unknown,) = load_tokenizer(), tokenise([text], 10_000)[0], unknown_parts([text])
    known = tokenizer.convert_ids_to_tokens([i for i in ids[1:-1] if i != tokenizer.unk_token_id])
    assert sum(map(len, known)) + sum(map(len, unknown)) == len(text)
    assert unknown or tokenizer.decode(ids[1:-1]) == text
    rest = text
    for part in unknown:  # in their order
        assert part in rest
        rest = rest[rest.index(part) + len(part) :]
